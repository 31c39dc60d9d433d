"""`berth files`: the files in a container, and those of the Files API, for people, over gRPC.

With `--container` a command is about the files in it, without about those in
no container. An id that a command makes stands alone on stdout.
"""

import mimetypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from berth.client.connection import Connection
from berth.client.downloads import Download
from berth.client.errors import LocalFileError
from berth.client.files import Description, FilesInside, files_of
from berth.client.local_files import STDIO, landing, safe_name, source_of
from berth.client.text import shown
from berth.commands.items import AsJson, Everything, Limit, for_each, print_item, print_listing
from berth.commands.moments import seconds
from berth.commands.progress import watched
from berth.commands.remote import ProviderName, provider_of, remote
from berth.launch.refusal import StartError

INSIDE = ("id", "bytes", "created_at", "source", "path")
OUTSIDE = ("id", "bytes", "created_at", "expires_at", "purpose", "filename")
DEFAULT_PURPOSE = "user_data"
DEFAULT_TYPE = "application/octet-stream"

files = typer.Typer(
    help="Upload, list, show, download, copy and delete the files of a running Berth.", no_args_is_help=True
)

FileId = Annotated[str, typer.Argument(metavar="FILE_ID", help="The file's id.")]
Inside = Annotated[str | None, typer.Option("--container", metavar="ID", help="The container that the file is in.")]
ContainerPath = Annotated[
    str | None, typer.Option("--path", metavar="PATH", help="Where it goes in the container, below /mnt/data.")
]


@files.command("list")
@remote
def list_files(
    connection: Connection,
    *,
    container: Inside = None,
    provider: ProviderName = None,
    purpose: Annotated[str | None, typer.Option(help="Only files of this purpose; not in a container.")] = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Show files, the newest first."""
    _require_outside(container, purpose=purpose)
    listing = files_of(connection, container).listing(
        None if everything else limit, provider=provider_of(provider), purpose=purpose
    )
    print_listing(listing, OUTSIDE if container is None else INSIDE, as_json=as_json)


@files.command()
@remote
def upload(
    connection: Connection,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="The files to send; - is stdin.")],
    *,
    container: Inside = None,
    path: ContainerPath = None,
    name: Annotated[str | None, typer.Option(help="The file's name there; needed for stdin.")] = None,
    provider: ProviderName = None,
    purpose: Annotated[
        str | None, typer.Option(help=f"What it is for, outside of containers.  [default: {DEFAULT_PURPOSE}]")
    ] = None,
    expires_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="When it goes by itself, such as 7d; not in a container.")
    ] = None,
) -> None:
    """Store files and print their ids, in the same order."""
    _require_one(paths, path=path, name=name)
    _require_outside(container, purpose=purpose, expires_after=expires_after)
    if path is not None and container is None:
        raise StartError("--path: only files in a container have one; name it with --container")
    target = files_of(connection, container)

    def send(one: str) -> None:
        filename = name or _readable(Path(one).name)
        description = Description(
            filename=filename,
            content_type=_content_type(filename),
            provider=provider_of(provider),
            path=path,
            purpose=purpose or DEFAULT_PURPOSE,
            seconds=None if expires_after is None else seconds(expires_after, "--expires-after"),
        )
        with _named(one):
            source = source_of(one)
            with watched(source.pieces, name=filename, size=source.size) as pieces:
                stored = target.upload(description, pieces)
        typer.echo(stored.id)

    for_each(paths, send, named=len(paths) > 1)


@files.command()
@remote
def download(
    connection: Connection,
    file_id: FileId,
    *,
    container: Inside = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="Where to put it, a file or a folder; - is stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
) -> None:
    """Fetch a file, under its own name unless told otherwise."""
    received = files_of(connection, container).download(file_id)
    if output == STDIO:
        with _named(STDIO):
            _print(received)
        return
    target = Path(output or ".")
    if target.is_dir():
        target /= safe_name(received.filename or "") or safe_name(file_id) or "file"
    with _ending_on_signals(), _named(str(target)), landing(target, force=force) as file:
        _write(received, file, name=target.name)


@files.command()
@remote
def show(connection: Connection, file_id: FileId, *, container: Inside = None, as_json: AsJson = False) -> None:
    """Show all that is known of a file."""
    print_item(files_of(connection, container).show(file_id), as_json=as_json)


@files.command()
@remote
def delete(
    connection: Connection,
    file_ids: Annotated[list[str], typer.Argument(metavar="FILE_ID", help="The files' ids.")],
    *,
    container: Inside = None,
) -> None:
    """Delete files."""
    for_each(file_ids, files_of(connection, container).delete)


@files.command()
@remote
def copy(
    connection: Connection,
    file_id: FileId,
    *,
    container: Annotated[str, typer.Option("--container", metavar="ID", help="The container to copy it into.")],
    path: ContainerPath = None,
) -> None:
    """Copy a file of the Files API into a container, and print the id of the copy."""
    typer.echo(FilesInside(connection, container).copy(file_id, path).id)


def _require_outside(container: str | None, **given: str | None) -> None:
    for option, value in given.items():
        if container is not None and value is not None:
            raise StartError(f"--{option.replace('_', '-')}: files in a container have none")


def _require_one(paths: list[str], **given: str | None) -> None:
    for option, value in given.items():
        if len(paths) > 1 and value is not None:
            raise StartError(f"--{option}: only for one file at a time")
    if STDIO in paths and not given["name"]:
        raise StartError("--name: it is needed for a file that comes from stdin")


def _readable(name: str) -> str:
    """Return a name of the file system, which may be any bytes, as text."""
    return os.fsencode(name).decode(errors="replace")


def _content_type(filename: str) -> str:
    kind, encoding = mimetypes.guess_type(filename)
    return DEFAULT_TYPE if kind is None or encoding else kind


def _print(received: Download) -> None:
    # A file of its own: what it cannot get rid of is not tried once more when Python ends.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as file:
        _write(received, file, name=STDIO, silent=sys.stdout.isatty())


def _write(received: Download, file: Any, *, name: str, silent: bool = False) -> None:
    with watched(received.pieces(), name=name, size=received.size, silent=silent) as pieces:
        for piece in pieces:
            file.write(piece)


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Say which file of this machine it was that something went wrong with."""
    try:
        yield
    except BrokenPipeError:  # who reads has had enough, which nobody has to be told
        raise
    except OSError as error:
        raise LocalFileError(f"{shown(path)}: {error.strerror or error}") from error


@contextmanager
def _ending_on_signals() -> Iterator[None]:
    """Clean up also where a hangup, or who ends the process politely, would end it at once; not what is ignored."""

    def end(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
