"""The sides of a copy that are files of SQLite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Self

from berth.adapters.sql.database import Row
from berth.adapters.sql.moving.errors import clash_error, other_copy_error
from berth.adapters.sql.moving.sides import BATCH_ROWS
from berth.adapters.sql.moving.tables import NEVER_REUSED, NUMBERED, Table, ordered_columns
from berth.adapters.sql.schema import HEAD
from berth.adapters.sql.sqlite.connections import connect_for_reads, connect_for_writes
from berth.adapters.sql.sqlite.copying import database_files, publish_database, remove_database, restoring_path
from berth.adapters.sql.sqlite.errors import existing_error, missing_error, open_error, other_schema_error
from berth.adapters.sql.sqlite.migration import current_revision, migrate
from berth.adapters.sql.sqlite.transaction import fetch_value

_OWNER_ONLY = 0o600  # the file contains the secrets of containers
_MARK = "CREATE TABLE unfinished_copy (source TEXT NOT NULL)"
_MARK_SOURCE = "INSERT INTO unfinished_copy (source) VALUES (?)"
_MARKED = "SELECT source FROM unfinished_copy"
_UNMARK = "DROP TABLE IF EXISTS unfinished_copy"
_GIVEN_OUT = "SELECT seq FROM sqlite_sequence WHERE name = ?"
_FORGET_GIVEN_OUT = "DELETE FROM sqlite_sequence WHERE name = ?"
_SET_GIVEN_OUT = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"


class SqliteSnapshot:
    """A Snapshot on a connection that is in a transaction."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    async def columns(self, table: Table) -> list[str]:
        """Return the columns; see Snapshot."""
        with _reported(self._path):
            return ordered_columns(
                table, [row[1] for row in self._connection.execute(f"PRAGMA table_info({table.name})")]
            )

    async def batches(self, table: Table) -> AsyncIterator[list[Row]]:
        """Yield the rows; see Snapshot."""
        columns = ", ".join(await self.columns(table))
        query = f"SELECT {columns} FROM {table.name} ORDER BY {', '.join(table.key)}"  # noqa: S608 - our own names
        with _reported(self._path):
            cursor = self._connection.execute(query)
        with closing(cursor):
            while rows := self._fetched(cursor):
                yield rows
                await asyncio.sleep(0)  # other work may be waiting, such as the renewal of a hold

    async def last_numbers(self) -> dict[str, int]:
        """Return the last numbers; see Snapshot."""
        with _reported(self._path):
            return {table: self._last_number(table) for table in NUMBERED}

    def _fetched(self, cursor: sqlite3.Cursor) -> list[Row]:
        with _reported(self._path):
            return cursor.fetchmany(BATCH_ROWS)

    def _last_number(self, table: str) -> int:
        largest = fetch_value(self._connection, f"SELECT max(seq) FROM {table}")  # noqa: S608 - our own names
        return max(largest or 0, fetch_value(self._connection, _GIVEN_OUT, table) or 0)


class SqliteRows:
    """A RowSource in a file."""

    def __init__(self, path: Path, *, place: str | None = None) -> None:
        self.path = path
        self.place = place or _place(path)

    @classmethod
    def existing(cls, path: Path) -> Self:
        """Use an existing file. StorageError if it does not exist or has another schema."""
        if not path.is_file():
            raise missing_error(path)
        with _reported(path):
            if current_revision(path) != HEAD:
                raise other_schema_error(path)
        return cls(path)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[SqliteSnapshot]:
        """Keep the rows of one moment; see RowSource."""
        with _reported(self.path), closing(connect_for_reads(self.path)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM alembic_version")  # the moment is that of the first query
            yield SqliteSnapshot(connection, self.path)


class SqliteFile(SqliteRows):
    """A new file that is being filled, without any mark."""

    def __init__(self, path: Path, *, place: str | None = None) -> None:
        super().__init__(path, place=place)
        with _reported(path):
            path.touch(mode=_OWNER_ONLY)
            migrate(path)
            self._connection = connect_for_writes(path)
            self._connection.execute("PRAGMA foreign_keys = OFF")  # PostgreSQL does not have them all
            self._connection.execute("PRAGMA synchronous = NORMAL")  # it is not used before it is synced as a whole

    async def replace(self, table: Table, columns: list[str], *, removed: list[Row], added: list[Row]) -> None:
        """Remove and add rows; see RowTarget."""
        key = " AND ".join(f"{column} = ?" for column in table.key)
        places = ", ".join("?" * len(columns))
        with self._transaction():
            self._connection.executemany(f"DELETE FROM {table.name} WHERE {key}", removed)  # noqa: S608 - our own names
            try:
                self._connection.executemany(
                    f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({places})",  # noqa: S608 - our own names
                    added,
                )
            except sqlite3.IntegrityError as error:
                raise clash_error(table.name, self.place) from error

    async def set_last_numbers(self, numbers: dict[str, int]) -> None:
        """Set the last numbers; see RowTarget."""
        with self._transaction():
            for table in NEVER_REUSED:  # the others continue after their largest number
                self._connection.execute(_FORGET_GIVEN_OUT, (table,))
                self._connection.execute(_SET_GIVEN_OUT, (table, numbers[table]))

    async def aclose(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _reported(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


class SqliteTarget(SqliteFile):
    """A RowTarget that becomes the file `path`: until it is finished, it has the name of a backup being restored."""

    def __init__(self, path: Path) -> None:
        super().__init__(restoring_path(path), place=_place(path))
        self._final = path

    @classmethod
    def begun(cls, path: Path, source: str) -> Self:
        """Create the unfinished file, or continue with it if it is one of the same source; see RowTarget."""
        for file in database_files(path):
            raise existing_error(file)
        unfinished = restoring_path(path)
        with _reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            found = _mark_of(unfinished)
            if found is None:
                remove_database(unfinished)
            elif found != source:
                raise other_copy_error(_place(path), found, f"delete {unfinished} to begin another one")
            target = cls(path)
            if found is None:
                target._connection.execute(_MARK)
                target._connection.execute(_MARK_SOURCE, (source,))
        return target

    async def finish(self) -> None:
        """Close the file and give it its name; see RowTarget."""
        with _reported(self.path):
            self._connection.execute(_UNMARK)
        await self.aclose()
        publish_database(self.path, self._final)


def _mark_of(path: Path) -> str | None:
    """Return the source of the unfinished copy in a file, None if it is none: an unfinished restore, for example."""
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(path)) as connection:
            source: str | None = fetch_value(connection, _MARKED)
    except sqlite3.DatabaseError:
        return None
    return source


def _place(path: Path) -> str:
    return str(path.absolute())


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Raise StorageError that names `path` for errors of SQLite and of the disk."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise open_error(path, error) from error
