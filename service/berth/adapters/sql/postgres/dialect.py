"""Translates statements into the SQL of PostgreSQL, and their values into its arguments."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from berth.adapters.sql.errors import bad_text

_VALUE = re.compile(r"'[^']*'|\?|:([a-z]\w*)")
_SPELLINGS = (
    (re.compile(r"json_each\((\?|:\w+)\)"), r"json_array_elements_text(CAST(\1 AS json)) AS items (value)"),
    (re.compile(r"json_group_array\((\w+)\)"), r"CAST(coalesce(json_agg(\1), '[]') AS text)"),
    (re.compile(r'"max"\('), "greatest("),
    (re.compile(r'"min"\('), "least("),
    (re.compile(r"\+tenant\b"), "tenant"),  # a hint for the planner of SQLite alone
)


class Statement(NamedTuple):
    """A translated statement; `names` are those of its arguments, in their order, if it names them."""

    text: str
    names: Sequence[str]


def translate(query: str) -> Statement:
    """Return the statement of PostgreSQL for `query`: `?` and `:name` become `$1`, `$2`, …."""
    for pattern, spelling in _SPELLINGS:
        query = pattern.sub(spelling, query)
    names: list[str] = []
    count = 0

    def numbered(match: "re.Match[str]") -> str:
        nonlocal count
        name = match[1]
        if match[0] == "?":
            count += 1
            return f"${count}"
        if name is None:
            return match[0]  # a text in quotes
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return Statement(_VALUE.sub(numbered, query), names)


class Translations:
    """Remembers translated statements; there are few, because queries are constants."""

    def __init__(self) -> None:
        self._statements: dict[str, Statement] = {}

    def bind(self, query: str, values: Sequence[object], named: Mapping[str, object]) -> tuple[str, Sequence[object]]:
        """Return the translated statement and its arguments. InvalidRequestError if one of them cannot be a text."""
        statement = self._statements.get(query)
        if statement is None:
            statement = self._statements[query] = translate(query)
        arguments = [named[name] for name in statement.names] if named else values
        for argument in arguments:
            if type(argument) is str and not is_text(argument):
                raise bad_text("must be valid Unicode without NUL")
        return statement.text, arguments


def is_text(value: str) -> bool:
    """Return whether the database can store a text: one with NUL or a lone surrogate it cannot."""
    if value.isascii():
        return "\0" not in value
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False
