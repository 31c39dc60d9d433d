"""A transaction on SQLite, inside of which the thread of the writer runs a coroutine that never waits."""

import sqlite3
from collections.abc import Coroutine
from typing import Any, TypeVar

from berth.adapters.sql.database import Row
from berth.adapters.sql.errors import ConflictError

T = TypeVar("T")


def fetch_one(connection: sqlite3.Connection, query: str, *values: object, **named: object) -> Row | None:
    """Return the first row of `query`, None if there is none."""
    try:
        row: Row | None = connection.execute(query, named or values).fetchone()
    except UnicodeEncodeError:  # a lone surrogate cannot be stored, so no row has such a text
        return None
    return row


def fetch_value(connection: sqlite3.Connection, query: str, *values: object, **named: object) -> Any:
    """Return the first column of the first row of `query`, None if there is no row."""
    row = fetch_one(connection, query, *values, **named)
    return None if row is None else row[0]


def fetch_all(connection: sqlite3.Connection, query: str, *values: object, **named: object) -> list[Row]:
    """Return all rows of `query`."""
    try:
        return connection.execute(query, named or values).fetchall()
    except UnicodeEncodeError:  # as in fetch_one
        return []


class SqliteTransaction:
    """A Transaction on `connection`. There is one at a time, so nothing needs a lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def one(self, query: str, /, *values: object, **named: object) -> Row | None:
        """Return the first row; see Reader."""
        return fetch_one(self._connection, query, *values, **named)

    async def value(self, query: str, /, *values: object, **named: object) -> Any:
        """Return the first column of the first row; see Reader."""
        return fetch_value(self._connection, query, *values, **named)

    async def all(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows; see Reader."""
        return fetch_all(self._connection, query, *values, **named)

    async def lock(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows; see Transaction."""
        return fetch_all(self._connection, query, *values, **named)

    async def lock_free(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows; see Transaction."""
        return fetch_all(self._connection, query, *values, **named)

    async def lock_only(self, query: str, /, *values: object, **named: object) -> None:
        """Do nothing; see Transaction."""

    async def serialize(self, *names: str) -> None:
        """Do nothing; see Transaction."""

    async def run(self, statement: str, /, *values: object, **named: object) -> int:
        """Run a statement; see Transaction."""
        try:
            return self._connection.execute(statement, named or values).rowcount
        except sqlite3.IntegrityError as error:
            raise ConflictError from error

    async def insert(self, statement: str, /, *values: object, **named: object) -> int:
        """Add a row; see Transaction."""
        try:
            row = self._connection.execute(statement, named or values).fetchone()
        except sqlite3.IntegrityError as error:
            raise ConflictError from error
        return int(row[0])

    async def run_many(self, statement: str, /, rows: list[Row]) -> None:
        """Run a statement once per row; see Transaction."""
        self._connection.executemany(statement, rows)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that uses only a SqliteTransaction, which never waits, and return its result."""
    try:
        work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    work.close()
    raise RuntimeError("a transaction waits for something other than the database")
