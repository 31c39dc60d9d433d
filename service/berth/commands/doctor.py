"""`berth doctor`: compares the database with the stored content, beside a running Berth or without one."""

import asyncio
from contextlib import closing
from typing import Annotated

import typer

from berth.adapters.sql.inventory import SqlInventory
from berth.app.stores.blobs import open_existing_blobs
from berth.app.stores.database import existing_database
from berth.client.text import shown
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.terminal.printing import counted, print_json, print_message
from berth.config import Config
from berth.core.errors import StorageError
from berth.core.hosted.doctor import Doctor, Finding
from berth.launch.refusal import StartError

_FAILED = 1


def doctor(
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Read all content and verify its checksums.")] = False,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="Correct sums, note damage, and delete content that no file has used for an hour; no rows."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each finding.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Compare the database with the stored content; exit with 1 while something is wrong."""
    if asyncio.run(_examine(load_config(config, data_dir), is_deep=deep, fixes=fix, as_json=as_json)):
        raise typer.Exit(_FAILED)


async def _examine(config: Config, *, is_deep: bool, fixes: bool, as_json: bool) -> bool:
    """Examine the configured stores as they are, whether or not Berth is running; return whether anything is wrong.

    Raises StartError if one cannot be opened or the database fails.
    """
    try:
        async with existing_database(config) as database:
            with closing(open_existing_blobs(config)) as blobs:
                examiner = Doctor(SqlInventory(database), blobs, is_deep=is_deep, fixes=fixes)
                return await _print_findings(examiner, as_json=as_json)
    except StorageError as error:
        raise StartError(error.message) from error


async def _print_findings(examiner: Doctor, *, as_json: bool) -> bool:
    """Print each finding and a summary; return whether anything is still wrong."""
    found = fixed = 0
    async for finding in examiner.findings():
        found += 1
        fixed += finding.is_fixed
        _print(finding, as_json=as_json)
    examined = f"examined {counted(examiner.blobs, 'blob')}, {counted(examiner.bytes, 'byte')}"
    result = f"{counted(found, 'finding')}, {fixed} fixed" if found else "all is well"
    print_message(f"{examined}: {result}")
    return found > fixed


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json({"kind": finding.kind, "message": finding.message, "fixed": finding.is_fixed, **finding.facts})
    else:
        typer.echo(f"{finding.kind}: {shown(finding.message)}{' (fixed)' if finding.is_fixed else ''}")
