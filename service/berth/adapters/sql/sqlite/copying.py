"""Copies a database that is in use, for backups, and puts a complete copy in its place."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from berth.adapters.sql.sqlite.errors import RESTORING, is_full, missing_error, open_error

_OWNER_ONLY = 0o600  # the file contains the secrets of containers
_LOGS = ("-wal", "-journal")
"""What is added to the name of a database for files that change what it contains."""
_FILES = ("", *_LOGS, "-shm")


def copy_database(source: Path, target: Path) -> None:
    """Write the state of the database `source` at one moment to the new file `target`; an old file there is replaced.

    Other processes may read and write `source` meanwhile. StorageError if that fails.
    """
    if not source.is_file():
        raise missing_error(source)
    with _reported(source, full=target), closing(sqlite3.connect(_read_only(source), uri=True)) as connection:
        remove_database(target)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))  # VACUUM accepts an empty file
        connection.execute("VACUUM INTO ?", (str(target),))


def publish_database(unfinished: Path, path: Path) -> None:
    """Move a complete, closed database to `path`, durably; it replaces one that no process uses.

    StorageError if that fails.
    """
    with _reported(path):
        _sync(unfinished)
        _close_logs(path)
        unfinished.replace(path)
        _sync(path.parent)


def database_files(path: Path) -> list[Path]:
    """Return the files of the database `path` that have data: SQLite would apply a log without it to the next one."""
    logs = [file for file in _named(path, _LOGS) if file.is_file() and file.stat().st_size]
    return [path, *logs] if path.exists() else logs


def remove_database(path: Path) -> None:
    """Remove the file of a database that no process uses, with its logs. OSError if that fails."""
    _remove(path, _FILES)


def _close_logs(path: Path) -> None:
    """Move what a killed process has left in logs into the database, and remove them."""
    if database_files(path) not in ([], [path]):
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    _remove(path, (*_LOGS, "-shm"))


def _remove(path: Path, suffixes: Iterable[str]) -> None:
    for file in _named(path, suffixes):
        file.unlink(missing_ok=True)


def _named(path: Path, suffixes: Iterable[str]) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in suffixes]


def restoring_path(path: Path) -> Path:
    """Return where the database of `path` is while it is restored."""
    return Path(f"{path}{RESTORING}")


@contextmanager
def _reported(path: Path, *, full: Path | None = None) -> Iterator[None]:
    """Raise StorageError that names `path`, or `full` if its disk is full."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise open_error(full if full and is_full(error) else path, error) from error


def _read_only(path: Path) -> str:
    """Return the URI to read a database with. On a medium that is read-only, SQLite cannot lock it, and needs not."""
    option = "mode=ro" if os.access(path.parent, os.W_OK) else "immutable=1"
    return f"{path.absolute().as_uri()}?{option}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
