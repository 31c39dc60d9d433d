"""What can be set, and what can go wrong, is in the documentation."""

import re
import runpy
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.cli import commands
from berth.config import Config
from berth.rpc.options import CACHE_TYPE, HEADERS, ORGANIZATION, PROJECT
from berth.rpc.status import TABLE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAX_README_LINES = 150


def document(name: str) -> str:
    """Return the text of a document."""
    return (ROOT / "docs" / name).read_text()


def sections(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that stand anywhere in a type."""
    if (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and not isinstance(annotation, types.GenericAlias)
    ):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections(argument)


def command_names() -> Iterator[str]:
    """Yield the name of each command, with its group before it."""
    for command in commands.registered_commands:
        yield (command.name or str(getattr(command.callback, "__name__", ""))).replace("_", "-")
    for group in commands.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            yield f"{group.name} {command.name or getattr(command.callback, '__name__', '')}"


def settings(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of all settings that have no settings below them."""
    for name, field in model.model_fields.items():
        below = list(sections(field.annotation))
        if not below:
            yield name
        for section in below:
            yield from settings(section)


@pytest.mark.parametrize("name", sorted(set(settings(Config))))
def test_a_setting_is_documented(name: str) -> None:
    """Every setting is described, by its name."""
    assert re.search(rf"[`.]{name}` \|", document("configuration.md"))


def test_every_setting_describes_itself() -> None:
    """No setting has an empty description."""
    rows = [line for line in document("configuration.md").splitlines() if line.startswith("| `")]
    assert [row for row in rows if not row.rsplit("|", 2)[1].strip()] == []


@pytest.mark.parametrize("name", ["configuration.md", "berth.schema.json"])
def test_what_is_generated_is_fresh(name: str) -> None:
    """Each generated document is what `python docs/generate.py` writes."""
    documents = runpy.run_path(str(ROOT / "docs" / "generate.py"))["documents"]()
    assert document(name) == documents[name], "run `python docs/generate.py`"


@pytest.mark.parametrize("code", sorted({row.code for row in TABLE.values() if row.code}))
def test_an_error_is_documented(code: str) -> None:
    """Every code that an error has by itself is in the list of errors."""
    assert f"`{code}`" in document("errors.md")


@pytest.mark.parametrize("header", sorted(HEADERS - {CACHE_TYPE, ORGANIZATION, PROJECT}))
def test_a_header_is_documented(header: str) -> None:
    """Every header that asks for something is in the description of the API."""
    assert f"`{header}`" in document("api.md")


@pytest.mark.parametrize("name", sorted(PrometheusMetrics().names()))
def test_a_metric_is_documented(name: str) -> None:
    """Every metric is in the page for those who run it."""
    assert f"`{name}`" in document("operations.md")


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines; the rest is behind its links."""
    assert len(README.splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("path", sorted({*ROOT.glob("*.md"), *ROOT.glob("*/*.md")}), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Every link of a document to a file, and to a heading in it, leads to one that exists."""
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", path.read_text()):
        name, _, heading = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, target


@pytest.mark.parametrize("name", sorted(command_names()))
def test_a_command_is_documented(name: str) -> None:
    """Every command is in the page about the command line."""
    group, _, command = name.rpartition(" ")
    assert re.search(rf"`(berth {group} ?)?[^`]*\b{command}\b[^`]*`", document("commands.md"))
