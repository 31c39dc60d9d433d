"""SqliteDatabase: the Database in a file of SQLite.

Reads run on the event loop's thread: a read takes microseconds, a switch to another thread many times that. Writes wait
for the disk, so they run on a separate thread; in WAL mode reads and writes do not block each other.
"""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from berth.adapters.sql.database import Row, Transaction, Work
from berth.adapters.sql.schema import HEAD
from berth.adapters.sql.sqlite.connections import connect_for_reads, connect_for_writes, path_of
from berth.adapters.sql.sqlite.copying import restoring_path
from berth.adapters.sql.sqlite.errors import (
    missing_error,
    open_error,
    other_schema_error,
    translate,
    unfinished_restore_error,
)
from berth.adapters.sql.sqlite.migration import current_revision, migrate
from berth.adapters.sql.sqlite.reserve import Reserve
from berth.adapters.sql.sqlite.tidying import release_pages, remove_deleted
from berth.adapters.sql.sqlite.transaction import fetch_all, fetch_one
from berth.adapters.sql.sqlite.writer import SqliteWriter

_OWNER_ONLY = 0o600  # the file contains the secrets of containers
_CHECK = "SELECT count(*) FROM alembic_version"
_STEP_PAGES = 256
"""How many pages are cut off at a time: 1 MiB, so that no other write waits for long."""
T = TypeVar("T")


class SqliteDatabase:
    """An open database; see Database. `now` gives seconds since 1970."""

    sorts_each_arm = False

    def __init__(
        self, reads: sqlite3.Connection, writer: SqliteWriter, *, now: Callable[[], float] = time.time
    ) -> None:
        self._reads = reads
        self._writer = writer
        self.now = now

    @classmethod
    def open(cls, url: str, *, is_shared: bool = False) -> Self:
        """Open the database of `url`; create and migrate it where needed.

        `sqlite:///path` is relative to the working directory, `sqlite:////path`
        is absolute. StorageError if it cannot be used. With `is_shared`, another
        process with an older version uses it, see `migrate`.
        """
        path = path_of(url)
        if restoring_path(path).exists() and not path.exists():
            raise unfinished_restore_error(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=_OWNER_ONLY)
            migrate(path, is_shared=is_shared)
            return cls._connect(path)
        except (OSError, sqlite3.Error) as error:
            raise open_error(path, error) from error

    @classmethod
    def open_existing(cls, url: str) -> Self:
        """Open the database of `url` without creating or migrating it. StorageError if it cannot be used as it is."""
        path = path_of(url)
        if not path.is_file():
            raise missing_error(path)
        try:
            if current_revision(path) != HEAD:
                raise other_schema_error(path)
            return cls._connect(path)
        except (OSError, sqlite3.Error) as error:
            raise open_error(path, error) from error

    @classmethod
    def _connect(cls, path: Path) -> Self:
        writer = SqliteWriter(connect_for_writes(path), Reserve(path.with_name(f"{path.name}-reserve")))
        return cls(connect_for_reads(path), writer)

    def close(self) -> None:
        """Finish the pending writes and close the database."""
        self._reads.close()
        self._writer.close()

    async def aclose(self) -> None:
        """Do the same as `close`; see Database."""
        self.close()

    async def check(self) -> None:
        """Return once the database has answered; see Database."""
        await self.write(_check)

    async def write(self, work: Work[T], *, frees_space: bool = False, is_durable: bool = True) -> T:
        """Run `work` as one transaction; see Database and SqliteWriter."""
        return await self._writer.write(work, frees_space=frees_space, is_durable=is_durable)

    async def tidy(self) -> None:
        """Empty the write-ahead log, which may contain deleted secrets, and restore the reserve; see SqliteWriter."""
        await self._writer.tidy()

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove rows that were deleted long ago; see Database."""
        return await self._writer.run_alone(
            lambda connection: remove_deleted(connection, deleted_before=deleted_before, limit=limit)
        )

    async def release_space(self) -> int:
        """Return free space to the disk; see Database."""
        return await self._writer.run_alone(lambda connection: release_pages(connection, _STEP_PAGES))

    async def one(self, query: str, /, *values: object, **named: object) -> Row | None:
        """Return the first row; see Reader."""
        try:
            return fetch_one(self._reads, query, *values, **named)
        except sqlite3.Error as error:
            raise translate(error) from error

    async def value(self, query: str, /, *values: object, **named: object) -> Any:
        """Return the first column of the first row; see Reader."""
        try:
            row = fetch_one(self._reads, query, *values, **named)
        except sqlite3.Error as error:
            raise translate(error) from error
        return None if row is None else row[0]

    async def all(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows; see Reader."""
        try:
            return fetch_all(self._reads, query, *values, **named)
        except sqlite3.Error as error:
            raise translate(error) from error


async def _check(transaction: Transaction) -> None:
    await transaction.value(_CHECK)
