"""`berth files`: manages container files and files of the Files API over gRPC.

With `--container` a command works on the files in that container, without it on files of the Files API. Commands that
create something print only its id on stdout.
"""

import mimetypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from berth.client.connection import Connection
from berth.client.downloads import Download
from berth.client.errors import LocalFileError
from berth.client.files import ContainerFiles, Description, files_of
from berth.client.local_files import STDIO, landing, safe_name, source_of
from berth.client.text import shown
from berth.commands.items import AsJson, Everything, Limit, for_each, print_item, print_listing
from berth.commands.remote import ProviderName, provider_of, remote
from berth.commands.terminal.moments import parse_duration
from berth.commands.terminal.progress import show_progress
from berth.commands.terminal.signals import exit_on_signals
from berth.launch.refusal import StartError

CONTAINER_FILE_COLUMNS = ("id", "bytes", "created_at", "source", "path")
FILE_COLUMNS = ("id", "bytes", "created_at", "expires_at", "purpose", "filename")
_LESS_IMPORTANT = ("EXPIRES", "PURPOSE", "CREATED")
DEFAULT_PURPOSE = "user_data"
DEFAULT_TYPE = "application/octet-stream"

files = typer.Typer(
    help="Upload, list, show, download, copy and delete the files of a running Berth.", no_args_is_help=True
)

FileId = Annotated[str, typer.Argument(metavar="FILE_ID", help="The file's id.")]
ContainerId = Annotated[
    str | None,
    typer.Option("--container", metavar="ID", help="The container of the file; without it, a file of the Files API."),
]
ContainerPath = Annotated[
    str | None, typer.Option("--path", metavar="PATH", help="Its path in the container, below /mnt/data.")
]


@files.command("list")
@remote
def list_files(
    connection: Connection,
    *,
    container: ContainerId = None,
    provider: ProviderName = None,
    purpose: Annotated[str | None, typer.Option(help="Only files with this purpose; not with --container.")] = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List files, newest first."""
    _reject_in_container(container, purpose=purpose)
    listing = files_of(connection, container).listing(
        None if everything else limit, provider=provider_of(provider), purpose=purpose
    )
    columns = FILE_COLUMNS if container is None else CONTAINER_FILE_COLUMNS
    print_listing(listing, columns, less_important=_LESS_IMPORTANT, as_json=as_json)


@files.command()
@remote
def upload(
    connection: Connection,
    paths: Annotated[list[str], typer.Argument(metavar="PATH", help="The files to upload; - is stdin.")],
    *,
    container: ContainerId = None,
    path: ContainerPath = None,
    name: Annotated[str | None, typer.Option(help="The uploaded file's name; required for stdin.")] = None,
    provider: ProviderName = None,
    purpose: Annotated[
        str | None, typer.Option(help=f"The file's purpose, by default {DEFAULT_PURPOSE}; not with --container.")
    ] = None,
    expires_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="When it expires, such as 7d; not with --container.")
    ] = None,
) -> None:
    """Upload files and print their ids, in the same order."""
    _require_single(paths, path=path, name=name)
    _reject_in_container(container, purpose=purpose, expires_after=expires_after)
    if path is not None and container is None:
        raise StartError("--path: only files in a container have one; name it with --container")
    target = files_of(connection, container)

    def send(local: str) -> None:
        filename = name or _readable(Path(local).name)
        description = Description(
            filename=filename,
            content_type=_content_type(filename),
            provider=provider_of(provider),
            path=path,
            purpose=purpose or DEFAULT_PURPOSE,
            seconds=None if expires_after is None else parse_duration(expires_after, "--expires-after"),
        )
        with _name_in_errors(local):
            source = source_of(local)
            with show_progress(source.pieces, name=filename, size=source.size) as pieces:
                stored = target.upload(description, pieces)
        typer.echo(stored.id)

    for_each(paths, send, named=len(paths) > 1)


@files.command()
@remote
def download(
    connection: Connection,
    file_id: FileId,
    *,
    container: ContainerId = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="PATH", help="The file or folder to write to; - is stdout."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Download a file, under its own name unless --output is given."""
    received = files_of(connection, container).download(file_id)
    if output == STDIO:
        with _name_in_errors(STDIO):
            _write_to_stdout(received)
        return
    target = Path(output or ".")
    if target.is_dir():
        target /= safe_name(received.filename or "") or safe_name(file_id) or "file"
    with exit_on_signals(), _name_in_errors(str(target)), landing(target, force=force) as file:
        _write(received, file, name=target.name)


@files.command()
@remote
def show(connection: Connection, file_id: FileId, *, container: ContainerId = None, as_json: AsJson = False) -> None:
    """Show all fields of a file."""
    print_item(files_of(connection, container).show(file_id), as_json=as_json)


@files.command()
@remote
def delete(
    connection: Connection,
    file_ids: Annotated[list[str], typer.Argument(metavar="FILE_ID", help="The files' ids.")],
    *,
    container: ContainerId = None,
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
    typer.echo(ContainerFiles(connection, container).copy(file_id, path).id)


def _reject_in_container(container: str | None, **given: str | None) -> None:
    for option, value in given.items():
        if container is not None and value is not None:
            raise StartError(f"--{option.replace('_', '-')}: files in a container have none")


def _require_single(paths: list[str], **given: str | None) -> None:
    for option, value in given.items():
        if len(paths) > 1 and value is not None:
            raise StartError(f"--{option}: only for one file at a time")
    if STDIO in paths and not given["name"]:
        raise StartError("--name: required for a file from stdin")


def _readable(name: str) -> str:
    """Return a local file name as valid Unicode text; on the file system it may be arbitrary bytes."""
    return os.fsencode(name).decode(errors="replace")


def _content_type(filename: str) -> str:
    kind, encoding = mimetypes.guess_type(filename)
    return DEFAULT_TYPE if kind is None or encoding else kind


def _write_to_stdout(received: Download) -> None:
    # A separate file object: Python would flush sys.stdout again at exit, and fail again.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as file:
        _write(received, file, name=STDIO, silent=sys.stdout.isatty())


def _write(received: Download, file: Any, *, name: str, silent: bool = False) -> None:
    with show_progress(received.pieces(), name=name, size=received.size, silent=silent) as pieces:
        for piece in pieces:
            file.write(piece)


@contextmanager
def _name_in_errors(path: str) -> Iterator[None]:
    """Raise an OSError as a LocalFileError that names `path`."""
    try:
        yield
    except BrokenPipeError:  # the reader of the pipe has closed it, which is not an error
        raise
    except OSError as error:
        raise LocalFileError(f"{shown(path)}: {error.strerror or error}") from error
