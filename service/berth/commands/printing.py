"""What commands print: tables for people, lines of JSON for programs, and what went wrong.

Names in tables are somebody's texts. What a terminal would obey is shown, and
not sent.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import typer
from rich.cells import cell_len, set_cell_size

from berth.client.text import shown


def print_json(row: Mapping[str, Any]) -> None:
    """Print an object as a line of JSON."""
    typer.echo(orjson.dumps(row).decode())


def print_table(rows: Iterable[Sequence[Any]]) -> None:
    """Print rows, the headings first, each column as wide as it must be."""
    for line in _lines([[_cell(value) for value in row] for row in rows]):
        typer.echo(line)


def tell(message: str) -> None:
    """Say on stderr what is wrong, or worth knowing."""
    for line in message.splitlines():
        typer.echo(f"berth: {shown(line)}", err=True)


def _cell(value: Any) -> str:
    return "-" if value is None else shown(",".join(value) if isinstance(value, list) else str(value))


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(set_cell_size(text, width) for text, width in zip(row, widths, strict=True)).rstrip()
