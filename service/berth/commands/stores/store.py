"""`berth store copy`."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from berth.client.text import shown
from berth.commands.terminal.printing import counted, print_message
from berth.config import Config, load

if TYPE_CHECKING:
    from berth.app.stores.copies import StoreCopied

_FAILED = 1
_SETTINGS = "BERTH_"

store = typer.Typer(help="Move an installation to other stores.", no_args_is_help=True)


@store.callback()
def _group() -> None:
    """Keep `copy` a command of its own: with a single one, typer would leave out its name."""


@store.command()
def copy(
    *,
    source: Annotated[
        Path,
        typer.Option("--from", metavar="FILE", help="The YAML file with the present settings, or a data folder."),
    ],
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="The YAML file with the settings from now on.")],
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Finish even if content is missing or damaged in the source.")
    ] = False,
) -> None:
    """Copy all rows and content between stopped installations and compare them; exit with 1 unless all are the same."""
    from berth.app.stores.copies import copy_store  # noqa: PLC0415 - see cli.py

    _report(asyncio.run(copy_store(_configuration(source), _configuration(target), skips_damaged=skip_damaged)))


def _configuration(path: Path) -> Config:
    """Read a configuration. Settings in the environment are for one installation, and there are two here."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    return load(None, environ, data_dir=path) if path.is_dir() else load(path, environ)


def _report(copied: "StoreCopied") -> None:
    """Print what was copied and what differs; exit with 1 if something does, or content could not be copied."""
    for table, rows, differences in copied.tables:
        typer.echo(f"{table}: {counted(rows, 'row')}, {f'{differences} differ' if differences else 'the same'}")
    for problem in copied.content.problems:
        typer.echo(shown(problem))
    content = copied.content
    blobs = f"{counted(content.blobs, 'blob')}, {counted(content.bytes, 'byte')}; {counted(content.present, 'blob')}"
    print_message(f"copied {blobs} were there already")
    if any(table.differences for table in copied.tables):
        print_message("rows differ: the source has changed meanwhile; run it again while no Berth uses it")
    if content.problems:
        print_message(f"{counted(len(content.problems), 'blob')} could not be copied; see `berth doctor --deep`")
    if not copied.is_finished:
        print_message("the copy is not finished, and no Berth can use it yet")
        raise typer.Exit(_FAILED)
    print_message("the copy is finished: start Berth with the new configuration")
    if content.problems:
        raise typer.Exit(_FAILED)
