"""Opens connections to SQLite, for reads and for writes, and parses the URL of the database."""

import sqlite3
import time
from pathlib import Path

from berth.adapters.sql.errors import bad_url
from berth.adapters.sql.sqlite.errors import is_busy

_SCHEME = "sqlite:///"
_WRITE_WAIT_SECONDS = 10.0  # for another process that writes
_READ_WAIT_SECONDS = 1.0  # it blocks the event loop, but hardly ever happens in WAL mode
_RETRY_SECONDS = 0.01


def path_of(url: str) -> Path:
    """Return the path in a `sqlite:///` URL. StorageError if there is none."""
    scheme, separator, _ = url.partition("://")
    if not url.startswith(_SCHEME):
        name = scheme if separator else "none"  # nothing else of the URL: it may contain a password
        raise bad_url(f"its URL must begin with '{_SCHEME}', but the scheme here is '{name}'.")
    if not (path := url.removeprefix(_SCHEME)) or path == ":memory:":
        raise bad_url(f"a path has to follow '{_SCHEME}'.")
    return Path(path)


def connect_for_writes(path: Path) -> sqlite3.Connection:
    """Open a connection on which a commit is durable when it returns."""
    connection = _connect(path, _WRITE_WAIT_SECONDS)
    _use_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL")  # in WAL mode, NORMAL may lose the last commits
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # overwrites deleted content, such as secrets, with zeros
    connection.execute("PRAGMA temp_store = MEMORY")  # keeps copies of changed pages out of temporary files
    return connection


def connect_for_reads(path: Path) -> sqlite3.Connection:
    """Open a read-only connection."""
    connection = _connect(path, _READ_WAIT_SECONDS)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """Connect without sqlite3's implicit transactions, for use from any thread but only one at a time."""
    return sqlite3.connect(path, timeout=wait_seconds, isolation_level=None, check_same_thread=False)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode. SQLite itself does not wait while another process does the same."""
    deadline = time.monotonic() + _WRITE_WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return
