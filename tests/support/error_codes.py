"""Every code that an error can have, read from the source of the service and of Envoy's script."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from berth.rpc.status import TABLE

SERVICE = Path(__file__).parents[2] / "service" / "berth"
ANSWERS = SERVICE / "rest" / "envoy" / "answers.lua"

Constants = dict[str, set[str]]
"""What a name can be, in any module: the texts that are assigned to it."""


def error_codes() -> set[str]:
    """Return the codes in the table of statuses, in arguments `code=`, and in the script for errors of Envoy."""
    trees = [ast.parse(path.read_text()) for path in SERVICE.rglob("*.py") if SERVICE / "v1" not in path.parents]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    constants = _constants(nodes)
    keywords = [node for node in nodes if isinstance(node, ast.keyword)]
    kinds = {text for word in keywords if word.arg == "what" for text in _texts(word.value, {})}
    given = {code for word in keywords if word.arg == "code" for code in _codes(word.value, constants, kinds)}
    return given | {row.code for row in TABLE.values() if row.code} | set(_of_envoy())


def _constants(nodes: list[ast.AST]) -> Constants:
    found: Constants = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
            choices = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            if (name.isupper() or name == "code") and all(isinstance(choice, ast.Constant) for choice in choices):
                found.setdefault(name, set()).update(text for choice in choices for text in _texts(choice, {}))
    return found


def _codes(node: ast.AST, constants: Constants, kinds: set[str]) -> Iterator[str]:
    """Yield the codes that an expression can be; `kinds` are those of what can be too long."""
    if isinstance(node, ast.JoinedStr):
        yield from (f"{kind}{text}" for kind in kinds for text in _texts(node, {}))
    elif not isinstance(node, ast.Call):  # a function returns one of the constants
        yield from _texts(node, constants)


def _texts(node: ast.AST, constants: Constants) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and re.fullmatch("[a-z_]+", part.value):
            yield part.value
        elif isinstance(part, ast.Name):
            yield from constants.get(part.id, ())


def _of_envoy() -> Iterator[str]:
    """Yield the last of the three values, text, parameter and code, that the script has for an error."""
    yield from re.findall(r'[,{] (?:nil|path|name), "([a-z_]+)"', ANSWERS.read_text())
