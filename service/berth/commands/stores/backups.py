"""`berth backup` and `berth restore`."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from berth.client.text import shown
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.terminal.printing import counted, print_message

if TYPE_CHECKING:
    from berth.app.stores.backups import Copied

_FAILED = 1


def backup(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A new folder, or one with an earlier backup, which is updated.")
    ],
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Back up all data of a Berth, beside it while it runs; exit with 1 if content is missing or damaged."""
    from berth.app.stores import backups  # noqa: PLC0415 - see cli.py

    copied = asyncio.run(backups.back_up(load_config(config, data_dir), folder))
    _report(copied, f"{counted(copied.present, 'blob')} kept; the backup in {folder} is complete")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the backup; it is not changed.")],
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Restore a backup into a Berth that has no data yet; exit with 1 if content is missing or damaged."""
    from berth.app.stores import backups  # noqa: PLC0415 - see cli.py

    copied = asyncio.run(backups.restore(load_config(config, data_dir), folder))
    _report(copied, f"the backup in {folder} is restored")


def _report(copied: "Copied", result: str) -> None:
    """Print what was copied and what could not be; exit with 1 if there is any such content."""
    for problem in copied.problems:
        typer.echo(shown(problem))
    print_message(f"copied {counted(copied.blobs, 'blob')}, {counted(copied.bytes, 'byte')}; {result}")
    if copied.problems:
        print_message(f"{counted(len(copied.problems), 'blob')} could not be copied; see `berth doctor --deep`")
        raise typer.Exit(_FAILED)
