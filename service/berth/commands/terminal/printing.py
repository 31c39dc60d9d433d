"""Prints the output of commands: tables for people, lines of JSON for programs, and messages.

Names in tables are untrusted text: control characters are escaped, so that a terminal does not interpret them.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import typer
from rich.cells import cell_len, set_cell_size

from berth.client.text import shown

_GAP = "  "
_MIN_LAST_WIDTH = 12
"""The smallest width of the last column, in characters; below it another column is left out instead."""


def print_json(row: Mapping[str, Any]) -> None:
    """Print an object as a line of JSON."""
    typer.echo(orjson.dumps(row).decode())


def print_table(rows: Iterable[Sequence[Any]], *, less_important: Sequence[str] = ()) -> None:
    """Print rows, headings first, with columns as wide as their content.

    On a narrow terminal the columns in `less_important` are left out, in that order, and then lines are cut.
    """
    table = [[_cell(value) for value in row] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    left_out = [] if width is None else _leave_out(table, width, less_important)
    for line in _lines(table):
        typer.echo(line if width is None or cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…")
    if left_out:
        print_message(f"the terminal is too narrow for {', '.join(left_out)}; --json shows all")


def print_message(message: str) -> None:
    """Print an error or a notice on stderr."""
    for line in message.splitlines():
        typer.echo(f"berth: {shown(line)}", err=True)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "2 blobs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _cell(value: Any) -> str:
    return "-" if value is None else shown(",".join(value) if isinstance(value, list) else str(value))


def _leave_out(table: list[list[str]], width: int, candidates: Iterable[str]) -> list[str]:
    """Remove columns from `table` until it fits; return their headings."""
    left_out = []
    for heading in candidates:
        if _min_width(table) <= width:
            break
        if heading not in table[0]:
            continue
        column = table[0].index(heading)
        for row in table:
            del row[column]
        left_out.append(heading)
    return left_out


def _min_width(table: Sequence[Sequence[str]]) -> int:
    """Return the smallest width that shows all columns, the last one cut to its smallest width."""
    *widths, last = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    return sum(width + len(_GAP) for width in widths) + min(last, _MIN_LAST_WIDTH)


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _GAP.join(set_cell_size(text, width) for text, width in zip(row, widths, strict=True)).rstrip()
