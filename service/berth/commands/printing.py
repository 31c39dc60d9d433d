"""What commands print: tables for people, lines of JSON for programs, and what went wrong.

Names in tables are somebody's texts. What a terminal would obey is shown, and
not sent.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import typer
from rich.cells import cell_len, set_cell_size

from berth.client.text import shown

_BETWEEN = "  "
_LEAST_LAST = 12
"""How many letters of the last column are shown at least before another column goes."""


def print_json(row: Mapping[str, Any]) -> None:
    """Print an object as a line of JSON."""
    typer.echo(orjson.dumps(row).decode())


def print_table(rows: Iterable[Sequence[Any]], *, less_important: Sequence[str] = ()) -> None:
    """Print rows, the headings first, each column as wide as it must be.

    A terminal that is too narrow gets fewer columns: those named as
    `less_important`, in that order, are left out, and then the last one is cut.
    """
    table = [[_cell(value) for value in row] for row in rows]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    left_out = [] if width is None else _leave_out(table, width, less_important)
    for line in _lines(table):
        typer.echo(line if width is None or cell_len(line) <= width else f"{set_cell_size(line, width - 1)}…")
    if left_out:
        tell(f"the terminal is too narrow for {', '.join(left_out)}; --json shows all")


def tell(message: str) -> None:
    """Say on stderr what is wrong, or worth knowing."""
    for line in message.splitlines():
        typer.echo(f"berth: {shown(line)}", err=True)


def _cell(value: Any) -> str:
    return "-" if value is None else shown(",".join(value) if isinstance(value, list) else str(value))


def _leave_out(table: list[list[str]], width: int, candidates: Iterable[str]) -> list[str]:
    """Remove columns from `table` until it fits; return their headings."""
    left_out = []
    for heading in candidates:
        if _least_width(table) <= width:
            break
        if heading not in table[0]:
            continue
        column = table[0].index(heading)
        for row in table:
            del row[column]
        left_out.append(heading)
    return left_out


def _least_width(table: Sequence[Sequence[str]]) -> int:
    """Return how wide a terminal must be for all columns, the last of them cut."""
    *widths, last = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    return sum(width + len(_BETWEEN) for width in widths) + min(last, _LEAST_LAST)


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _BETWEEN.join(set_cell_size(text, width) for text, width in zip(row, widths, strict=True)).rstrip()
