"""The sides of a copy that are databases on a PostgreSQL server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Self

import asyncpg

from berth.adapters.sql.database import Row
from berth.adapters.sql.moving.errors import (
    clash_error,
    has_rows_error,
    in_use_error,
    number_error,
    other_copy_error,
    other_copy_running_error,
    text_error,
)
from berth.adapters.sql.moving.sides import BATCH_ROWS
from berth.adapters.sql.moving.tables import NUMBERED, OWN, TABLES, Table, ordered_columns
from berth.adapters.sql.postgres.connections import Settings, connect, place_of
from berth.adapters.sql.postgres.dialect import is_text
from berth.adapters.sql.postgres.errors import FAILURES, open_error, reason
from berth.adapters.sql.postgres.migration import IS_UNFINISHED, UNFINISHED, prepare

if TYPE_CHECKING:
    from asyncpg.cursor import Cursor as AnyCursor

    from berth.adapters.sql.postgres.connections import Connection

    Cursor = AnyCursor[asyncpg.Record]

_USERS_WAIT_SECONDS, _COPY_WAIT_SECONDS = 1.0, 5.0
"""How long the server may take to notice that Berths, or a copy that was writing, have gone."""
_RETRY_SECONDS = 0.1
_NAME = "SET {scope} application_name = 'berth copy'"
_PATIENCE = "SET LOCAL idle_in_transaction_session_timeout = 0"  # the other side may be slow
_IN_USE = """
    SELECT EXISTS (
        SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'berth'
    )
"""
_CLAIM = "SELECT pg_try_advisory_lock(5023194821703216)"  # any number that only Berth uses
_MARK = f"CREATE TABLE {UNFINISHED} (source TEXT NOT NULL)"
_MARK_SOURCE = f"INSERT INTO {UNFINISHED} (source) VALUES ($1)"  # noqa: S608 - constants
_MARKED = f"SELECT source FROM {UNFINISHED}"  # noqa: S608 - constants
_UNMARK = f"DROP TABLE {UNFINISHED}"
_REFERRING = "DELETE FROM key_digests"
"""Removes the rows that refer to rows of other tables, so that those can be replaced; there are few."""
_SEQUENCE = "pg_get_serial_sequence('{table}', 'seq')"


class PostgresSnapshot:
    """A Snapshot on a connection that is in a transaction."""

    def __init__(self, connection: "Connection", place: str) -> None:
        self._connection = connection
        self._place = place

    async def columns(self, table: Table) -> list[str]:
        """Return the columns; see Snapshot."""
        with _reported(self._place):
            return ordered_columns(table, list(await self._types(table)))

    async def batches(self, table: Table) -> AsyncIterator[list[Row]]:
        """Yield the rows; see Snapshot. The collation of the database may order texts in another way."""
        with _reported(self._place):
            types = await self._types(table)
            order = ", ".join(f'{column} COLLATE "C"' if types[column] == "text" else column for column in table.key)
            query = f"SELECT {', '.join(ordered_columns(table, list(types)))} FROM {table.name} ORDER BY {order}"  # noqa: S608 - our own names
            cursor = await self._connection.cursor(query)
        while rows := await self._fetched(cursor):
            yield rows

    async def last_numbers(self) -> dict[str, int]:
        """Return the last numbers; see Snapshot."""
        with _reported(self._place):
            return {table: await self._last_number(table) for table in NUMBERED}

    async def _fetched(self, cursor: "Cursor") -> list[Row]:
        with _reported(self._place):
            return [tuple(record) for record in await cursor.fetch(BATCH_ROWS)]

    async def _last_number(self, table: str) -> int:
        sequence = await self._connection.fetchval(f"SELECT {_SEQUENCE.format(table=table)}")
        query = f"""
            SELECT greatest(
                (SELECT max(seq) FROM {table}), (SELECT last_value FROM {sequence} WHERE is_called), 0
            )
        """  # noqa: S608 - our own names
        return int(await self._connection.fetchval(query))

    async def _types(self, table: Table) -> dict[str, str]:
        query = await self._connection.prepare(f"SELECT * FROM {table.name}")  # noqa: S608 - our own names
        return {attribute.name: attribute.type.name for attribute in query.get_attributes()}


class PostgresRows:
    """A RowSource on a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.place = place_of(settings.url)

    @classmethod
    async def existing(cls, settings: Settings, *, may_be_used: bool) -> Self:
        """Use an existing database. StorageError if it has another schema, or if a Berth uses it and must not."""
        await prepare(settings, migrates=False)
        rows = cls(settings)
        if not may_be_used:
            async with _connected(settings) as connection:
                await _require_unused(connection, rows.place)
        return rows

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        """Keep the rows of one moment; see RowSource."""
        async with (
            _connected(self._settings) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await connection.execute(_NAME.format(scope="LOCAL"))  # a pooler lends the session to others
            await connection.execute(_PATIENCE)
            yield PostgresSnapshot(connection, self.place)


@asynccontextmanager
async def _connected(settings: Settings) -> "AsyncIterator[Connection]":
    """Connect. Raises StorageError for all errors of the server."""
    with _reported(place_of(settings.url)):
        connection = await connect(settings, answer_seconds=None)
        try:
            yield connection
        finally:
            await connection.close()


class PostgresTarget(PostgresRows):
    """A RowTarget on a server. A table marks it as unfinished, and a lock keeps other copies away."""

    def __init__(self, settings: Settings, connection: "Connection", stack: AsyncExitStack) -> None:
        super().__init__(settings)
        self._connection = connection
        self._stack = stack

    @classmethod
    async def begun(cls, settings: Settings, source: str) -> Self:
        """Migrate the database and mark it, or continue with it if it has a copy of the same source; see RowTarget."""
        await prepare(settings, migrates=True, may_be_unfinished=True)
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(_connected(settings))
            target = cls(settings, connection, stack)
            await target._begin(source)
            target._stack = stack.pop_all()
        return target

    async def _begin(self, source: str) -> None:
        await _require_unused(self._connection, self.place)
        if not await _becomes(self._connection, _CLAIM, wanted=True, seconds=_COPY_WAIT_SECONDS):
            raise other_copy_running_error(self.place)
        async with self._connection.transaction():
            if not await self._connection.fetchval(IS_UNFINISHED):
                await _require_empty(self._connection, self.place)
                await self._connection.execute(_MARK)
                await self._connection.execute(_MARK_SOURCE, source)
            elif (found := await self._connection.fetchval(_MARKED)) != source:
                raise other_copy_error(self.place, found, "use another database, or delete this one")
            await self._connection.execute(_REFERRING)

    async def replace(self, table: Table, columns: list[str], *, removed: list[Row], added: list[Row]) -> None:
        """Remove and add rows; see RowTarget."""
        for row in added:
            if not all(is_text(value) for value in row if isinstance(value, str)):
                raise text_error(table.name, row[: len(table.key)])
        key = " AND ".join(f"{column} = ${number}" for number, column in enumerate(table.key, 1))
        with _reported(self.place):
            async with self._connection.transaction():
                await self._connection.executemany(f"DELETE FROM {table.name} WHERE {key}", removed)  # noqa: S608 - our own names
                try:
                    await self._connection.copy_records_to_table(table.name, columns=columns, records=added)
                except asyncpg.IntegrityConstraintViolationError as error:
                    raise clash_error(table.name, self.place) from error
                except OverflowError as error:
                    raise number_error(table.name) from error

    async def set_last_numbers(self, numbers: dict[str, int]) -> None:
        """Set the last numbers; see RowTarget."""
        with _reported(self.place):
            for table, number in numbers.items():
                sequence = _SEQUENCE.format(table=table)
                await self._connection.fetchval(f"SELECT setval({sequence}, $1, $2)", max(number, 1), number > 0)

    async def finish(self) -> None:
        """Remove the mark; see NewStore."""
        with _reported(self.place):
            for table in TABLES:
                await self._connection.execute(f"ANALYZE {table.name}")
            await self._connection.execute(_UNMARK)

    async def aclose(self) -> None:
        """Close the connection, which ends the lock."""
        await self._stack.aclose()


async def _require_unused(connection: "Connection", place: str) -> None:
    """Raise StorageError if a Berth is connected to the database; this connection is none."""
    await connection.execute(_NAME.format(scope="SESSION"))
    if not await _becomes(connection, _IN_USE, wanted=False, seconds=_USERS_WAIT_SECONDS):
        raise in_use_error(place)


async def _becomes(connection: "Connection", query: str, *, wanted: bool, seconds: float) -> bool:
    """Return whether a query returns `wanted`, at once or within some seconds."""
    deadline = time.monotonic() + seconds
    while await connection.fetchval(query) != wanted:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_RETRY_SECONDS)
    return True


async def _require_empty(connection: "Connection", place: str) -> None:
    for table in TABLES:
        query = f"SELECT EXISTS (SELECT 1 FROM {table.name})"  # noqa: S608 - our own names
        if table.name not in OWN and await connection.fetchval(query):
            raise has_rows_error(place, table.name)


@contextmanager
def _reported(place: str) -> Iterator[None]:
    """Raise StorageError that names `place` for errors of the server."""
    try:
        yield
    except FAILURES as error:
        raise open_error(place, reason(error)) from error
