"""Containers and files as commands show them: in words for people, as REST has them for programs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import orjson
import typer
from google.protobuf.message import Message
from rich.filesize import decimal

from berth.client.errors import LocalFileError, RefusedError
from berth.client.listing import Listing
from berth.client.text import shown
from berth.commands.moments import time_text
from berth.commands.printing import print_json, print_table, tell
from berth.rest.json_view import JsonView

AsJson = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each, as REST has it.")]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="How many to show at most.")]
Everything = Annotated[bool, typer.Option("--all", help="Show all there are.")]

REFUSED = 1


def print_listing(listing: Listing[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Print these columns of all items, or all of each as a line of JSON."""
    view = JsonView()
    items = map(view.of, listing)
    if as_json:
        for item in items:
            print_json(item)
        return
    rows = ([_text(name, item.get(name)) for name in columns] for item in items)
    print_table([[_heading(name) for name in columns], *rows], less_important=_LESS_IMPORTANT)
    if listing.has_more:
        tell("there are more; --all shows them")


def print_item(message: Message, *, as_json: bool) -> None:
    """Print a line for each field, or all as a line of JSON."""
    item = JsonView().of(message)
    if as_json:
        print_json(item)
        return
    item.setdefault("provider", item.get("extra_fields", {}).get("provider"))
    print_table([(_heading(name), _text(name, value)) for name, value in item.items() if name not in _INTERNAL])


def for_each(names: Iterable[str], act: Callable[[str], object], *, named: bool = False) -> None:
    """Do something with each; where one is refused, or cannot be read, say so and go on, and exit with 1 in the end.

    `named` has a refusal, which need not name what was refused, begin with the name.
    """
    has_failed = False
    for name in names:
        try:
            act(name)
        except LocalFileError as error:
            tell(str(error))
            has_failed = True
        except RefusedError as error:
            tell(f"{shown(name)}: {explained(error)}" if named else explained(error))
            has_failed = True
    if has_failed:
        raise typer.Exit(REFUSED)


def explained(error: RefusedError) -> str:
    """Return what a server said, and with which option a parameter is given that it misses."""
    option = _OPTIONS.get(error.param) if error.code == "missing_required_parameter" else None
    return f"{error}: give it with {option}" if option else str(error)


_LESS_IMPORTANT = ("LAST ACTIVE", "EXPIRES AFTER", "EXPIRES", "PURPOSE", "CREATED", "PROVIDER", "STATUS")
"""What a narrow terminal does without, the least important first."""
_OPTIONS = {"provider": "--provider NAME"}
_INTERNAL = {"object", "extra_fields"}


def _heading(name: str) -> str:
    return "SIZE" if name == "bytes" else name.removesuffix("_at").replace("_", " ").upper()


def _text(name: str, value: Any) -> Any:
    """Return the value of a field in words."""
    if name.endswith("_at"):
        return time_text(value)
    if name == "bytes":
        return decimal(value)
    if name == "expires_after" and value:
        return f"{value['minutes']}m idle"
    if isinstance(value, dict):
        return orjson.dumps(value).decode() if value else None
    return value
