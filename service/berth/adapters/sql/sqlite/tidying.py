"""Work on the database that must run outside of a transaction; each function takes the connection for writes."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from berth.adapters.sql.database import REMOVALS
from berth.adapters.sql.sqlite.transaction import fetch_value

_INCREMENTAL = 2
_CHECKPOINT_WAIT_MILLISECONDS = 200


def checkpoint(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the database file and empty it; return False if a reader prevented it."""
    with _pragma(connection, "busy_timeout", _CHECKPOINT_WAIT_MILLISECONDS):
        return not fetch_value(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def remove_deleted(connection: sqlite3.Connection, *, deleted_before: int, limit: int) -> int:
    """Remove at most `limit` rows that were deleted before a time; return how many were removed.

    Files are removed before containers. Foreign keys are not checked meanwhile: without an index for it, each removed
    container would be a scan of all files. A file that the clock says was deleted after its container stays a while
    without it, which no query can notice.
    """
    removed = 0
    with _pragma(connection, "foreign_keys", 0):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for query in REMOVALS:
                removed += connection.execute(query, (deleted_before, limit - removed)).rowcount
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return removed


def release_pages(connection: sqlite3.Connection, limit: int) -> int:
    """Cut at most `limit` free pages off the database file; return how many bytes that are.

    0 if there are none, and for a database that was created before this was supported: it reuses its free pages.
    """
    if fetch_value(connection, "PRAGMA auto_vacuum") != _INCREMENTAL:
        return 0
    before = fetch_value(connection, "PRAGMA page_count")
    connection.executescript(f"PRAGMA incremental_vacuum({limit})")  # `execute` would stop after one page
    released: int = before - fetch_value(connection, "PRAGMA page_count")
    return released * int(fetch_value(connection, "PRAGMA page_size"))


@contextmanager
def _pragma(connection: sqlite3.Connection, name: str, value: int) -> Iterator[None]:
    """Set a pragma for as long as the context lasts."""
    before = fetch_value(connection, f"PRAGMA {name}")
    connection.execute(f"PRAGMA {name} = {value}")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA {name} = {before}")
