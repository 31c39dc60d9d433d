"""Connections to SQLite: what a URL names, and how it is opened for reads and for writes."""

import sqlite3
import time
from pathlib import Path

from berth.adapters.sql.errors import bad_url, is_busy

_SCHEME = "sqlite:///"
_WRITE_WAIT_SECONDS = 10.0  # for another process that writes
_READ_WAIT_SECONDS = 1.0  # it blocks the event loop, and in WAL mode hardly ever happens
_TRY_AGAIN_SECONDS = 0.01


def path_of(url: str) -> Path:
    """Return the path that a URL of SQLite names. StorageError if it names none."""
    scheme, separator, _ = url.partition("://")
    if not url.startswith(_SCHEME):
        name = scheme if separator else "none"  # nothing else of the URL: it may hold a password
        raise bad_url(f"its URL begins with '{_SCHEME}', and the scheme here is '{name}'.")
    if not (path := url.removeprefix(_SCHEME)) or path == ":memory:":
        raise bad_url(f"a path has to follow '{_SCHEME}'.")
    return Path(path)


def connect_for_writes(path: Path) -> sqlite3.Connection:
    """Connect such that a commit is on the disk when it returns."""
    connection = _connect(path, _WRITE_WAIT_SECONDS)
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may lose the last commits
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def connect_for_reads(path: Path) -> sqlite3.Connection:
    """Connect such that nothing can be written."""
    connection = _connect(path, _READ_WAIT_SECONDS)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """Connect without sqlite3's own transactions, and for use from any thread, though never from two at once."""
    return sqlite3.connect(path, timeout=wait_seconds, isolation_level=None, check_same_thread=False)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite itself does not wait for another process that is doing the same."""
    deadline = time.monotonic() + _WRITE_WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_TRY_AGAIN_SECONDS)
        else:
            return
