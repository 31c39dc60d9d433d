"""The SQLite database that all Sql adapters share: reads happen here, writes in SqlWriter.

Point reads run on the event loop's thread: a read takes microseconds, a switch
to another thread many times that. Writes wait for the disk, so they run on a
separate thread; in WAL mode reads and writes do not block each other.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from berth.adapters.sql.connections import connect_for_reads, connect_for_writes, path_of
from berth.adapters.sql.errors import missing_error, open_error, other_schema_error, translate
from berth.adapters.sql.rows import Row, fetch_one, fetch_value
from berth.adapters.sql.schema import HEAD, current_revision, migrate
from berth.adapters.sql.upkeep.reserve import Reserve
from berth.adapters.sql.writer import SqlWriter, Work

_OWNER_ONLY = 0o600  # the file contains the secrets of containers
_CHECK = "SELECT count(*) FROM alembic_version"
T = TypeVar("T")


class SqlDatabase:
    """An open database, for use from one event loop.

    Every method raises StorageError when the database fails.
    """

    def __init__(self, reads: sqlite3.Connection, writer: SqlWriter) -> None:
        self._reads = reads
        self._writer = writer

    @classmethod
    def open(cls, url: str, *, is_shared: bool = False) -> Self:
        """Open the database of `url`; create and migrate it where needed.

        `sqlite:///path` is relative to the working directory, `sqlite:////path`
        is absolute. StorageError if it cannot be used. With `is_shared`, another
        process with an older version uses it, see `migrate`.
        """
        path = path_of(url)
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
        writer = SqlWriter(connect_for_writes(path), Reserve(path.with_name(f"{path.name}-reserve")))
        return cls(connect_for_reads(path), writer)

    def close(self) -> None:
        """Finish the pending writes and close the database."""
        self._reads.close()
        self._writer.close()

    async def check(self) -> None:
        """Return once the database has answered a query in a transaction that could write; it changes nothing."""
        await self.write(lambda connection: fetch_value(connection, _CHECK))

    async def write(self, work: Work[T], *, frees_space: bool = False) -> T:
        """Run `work` as one transaction; see SqlWriter."""
        return await self._writer.write(work, frees_space=frees_space)

    async def run_alone(self, work: Work[T]) -> T:
        """Run `work` between two transactions; see SqlWriter."""
        return await self._writer.run_alone(work)

    async def tidy(self) -> None:
        """Empty the write-ahead log, which may contain deleted secrets, and restore the reserve; see SqlWriter."""
        await self._writer.tidy()

    def one(self, query: str, *values: object) -> Row | None:
        """Return the first row of `query`, None if there is none."""
        try:
            return fetch_one(self._reads, query, *values)
        except sqlite3.Error as error:
            raise translate(error) from error

    def value(self, query: str, *values: object) -> Any:
        """Return the first column of the first row of `query`, None if there is no row."""
        try:
            row = fetch_one(self._reads, query, *values)
        except sqlite3.Error as error:
            raise translate(error) from error
        return None if row is None else row[0]

    def all(self, query: str, values: Mapping[str, object]) -> list[Row]:
        """Return all rows of `query`."""
        try:
            return self._reads.execute(query, values).fetchall()
        except UnicodeEncodeError:  # as in fetch_one: no row has such a text
            return []
        except sqlite3.Error as error:
            raise translate(error) from error
