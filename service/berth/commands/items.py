"""Prints containers and files: as tables for people, or as the JSON of the REST API for programs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import orjson
import typer
from google.protobuf.message import Message
from rich.filesize import decimal

from berth.client.errors import LocalFileError, RefusedError
from berth.client.listing import Listing
from berth.client.text import shown
from berth.commands.terminal.moments import format_time
from berth.commands.terminal.printing import print_json, print_message, print_table
from berth.rest.json_view import JsonView

AsJson = Annotated[bool, typer.Option("--json", help="Print each item as a line of JSON, as in the REST API.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="The largest number of items to show.")]
Everything = Annotated[bool, typer.Option("--all", help="Show all items.")]

REFUSED = 1


def print_listing(
    listing: Listing[Any], columns: Sequence[str], *, less_important: Sequence[str], as_json: bool
) -> None:
    """Print a table with these columns, or all fields of each item as a line of JSON.

    `less_important` has the headings of columns that are left out on a narrow terminal, the least important first.
    """
    view = JsonView()
    items = map(view.of, listing)
    if as_json:
        for item in items:
            print_json(item)
        return
    rows = ([_text(name, item.get(name)) for name in columns] for item in items)
    print_table([[_heading(name) for name in columns], *rows], less_important=less_important)
    if listing.has_more:
        print_message("there are more; --all shows them")


def print_item(message: Message, *, as_json: bool) -> None:
    """Print a line for each field, or all fields as a line of JSON."""
    item = JsonView().of(message)
    if as_json:
        print_json(item)
        return
    item.setdefault("provider", item.get("extra_fields", {}).get("provider"))
    print_table([(_heading(name), _text(name, value)) for name, value in item.items() if name not in _INTERNAL])


def for_each(names: Iterable[str], act: Callable[[str], object], *, named: bool = False) -> None:
    """Call `act` for each name; print errors and go on, and exit with 1 at the end if there were any.

    Handles only RefusedError and LocalFileError. With `named`, the message of a RefusedError begins with the name,
    because the server's message need not contain it.
    """
    has_failed = False
    for name in names:
        try:
            act(name)
        except LocalFileError as error:
            print_message(str(error))
            has_failed = True
        except RefusedError as error:
            print_message(f"{shown(name)}: {explain(error)}" if named else explain(error))
            has_failed = True
    if has_failed:
        raise typer.Exit(REFUSED)


def explain(error: RefusedError) -> str:
    """Return the server's message and, if a required parameter is missing, the option that sets it."""
    option = _OPTIONS.get(error.param) if error.code == "missing_required_parameter" else None
    return f"{error}: give it with {option}" if option else str(error)


_OPTIONS = {"provider": "--provider NAME"}
_INTERNAL = {"object", "extra_fields"}


def _heading(name: str) -> str:
    return "SIZE" if name == "bytes" else name.removesuffix("_at").replace("_", " ").upper()


def _text(name: str, value: Any) -> Any:
    """Return the value of a field as it is shown to people."""
    if name.endswith("_at"):
        return format_time(value)
    if name == "bytes" and value is not None:
        return decimal(value)
    if name == "expires_after" and value:
        return f"{value['minutes']}m idle"
    if isinstance(value, dict):
        return orjson.dumps(value).decode() if value else None
    return value
