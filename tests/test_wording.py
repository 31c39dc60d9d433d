"""The wording of the source: words that a reader has to decode are rare, retired names are gone."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "service" / "berth"
RARE = ("nobody", "whose", "stands", "behind", "whoever")
"""Signs of a sentence to rewrite; see CONTRIBUTING.md."""
MAX_EACH = 10
RETIRED = ("keeper", "stowage", "intake", "deed", "unheld", "let_go", "tether")
"""Names that a standard term has replaced; the glossary in docs/architecture.md has those."""


def sources() -> list[Path]:
    """Return all modules of the package but the generated ones."""
    return sorted(path for path in SERVICE.rglob("*.py") if (SERVICE / "v1") not in path.parents)


def docstrings(path: Path) -> Iterator[str]:
    """Yield the docstrings of a module: its own, those of classes, functions and attributes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


@cache
def counted() -> Counter[str]:
    """Count the words of all docstrings."""
    words = (re.findall(r"[a-z]+", text.lower()) for path in sources() for text in docstrings(path))
    return Counter(word for found in words for word in found)


@pytest.mark.parametrize("word", RARE)
def test_a_word_that_needs_decoding_is_rare(word: str) -> None:
    """No such word occurs more than ten times in the docstrings of the package."""
    assert counted()[word] <= MAX_EACH


def test_retired_names_are_gone() -> None:
    """A name that a standard term has replaced occurs nowhere in the source, in no part of another name either."""
    words = {path: re.findall(r"[a-z]+(?:_go)?", path.read_text(encoding="utf-8").lower()) for path in sources()}
    found = {str(path.relative_to(SERVICE)): set(RETIRED) & set(used) for path, used in words.items()}
    assert {name: names for name, names in found.items() if names} == {}
