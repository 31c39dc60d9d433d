"""PostgresDatabase: the Database on a PostgreSQL server."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import asyncpg

from berth.adapters.sql.database import REMOVALS, Row, Transaction, Work
from berth.adapters.sql.errors import ConflictError, closed_error, unavailable
from berth.adapters.sql.postgres.connections import Pool, Settings, connect
from berth.adapters.sql.postgres.dialect import Translations
from berth.adapters.sql.postgres.errors import FAILURES, is_hindered, translate
from berth.adapters.sql.postgres.migration import prepare
from berth.adapters.sql.postgres.transaction import BEGIN, COMMIT, ROLLBACK, PostgresTransaction
from berth.core.background import shielded
from berth.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from berth.adapters.sql.postgres.connections import Connection

_CHECK = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8), current_setting('transaction_read_only')"
_TRIES = 5
"""How often a transaction is tried that others hinder."""
_PAUSE_SECONDS = 0.02
T = TypeVar("T")


class PostgresDatabase:
    """An open database; see Database. Its clock is the server's, so that replicas agree on leases and ages."""

    sorts_each_arm = True

    def __init__(self, pool: Pool) -> None:
        self._pool: Pool | None = pool
        self._translations = Translations()
        self._writes: set[asyncio.Task[Any]] = set()
        self._offset = 0.0

    @classmethod
    async def open(
        cls, settings: Settings, *, migrates: bool = True, report: Callable[[str], None] = lambda _: None
    ) -> Self:
        """Open the database; create and migrate its tables where needed, and if `migrates`.

        StorageError if it cannot be used; `report` is told why it has to wait for the server, if it has to.
        """
        await prepare(settings, migrates=migrates, report=report)
        database = cls(Pool(lambda: connect(settings), settings.size))
        try:
            await database.check()
        except BaseException:
            await database.aclose()
            raise
        return database

    async def aclose(self) -> None:
        """Finish the pending writes and close all connections."""
        while self._writes:
            await asyncio.wait(self._writes)
        if self._pool is not None:
            await self._pool.aclose()
        self._pool = None

    def now(self) -> float:
        """Return the server's time, as far as it was seen; see Database."""
        return time.monotonic() + self._offset

    async def check(self) -> None:
        """Return once the server has answered, and look at its clock; see Database.

        It is a read, because all writes may be waiting for locks of others, on all replicas.
        """
        if await self._read(self._is_read_only):
            # Others may lead to another server by now, or to the same one with other settings.
            self._open_pool().close_idle()
            raise translate(asyncpg.ReadOnlySQLTransactionError())

    async def _is_read_only(self, connection: "Connection") -> bool:
        before = time.monotonic()
        row = await connection.fetchrow(_CHECK)
        after = time.monotonic()
        now, is_read_only = row or (0.0, "on")
        if is_read_only != "on":
            # The server looked at its clock at some time between the two, which are far apart after it hung.
            known = self._offset or now - (before + after) / 2
            self._offset = min(max(known, now - after), now - before)
        return bool(is_read_only == "on")

    async def one(self, query: str, /, *values: object, **named: object) -> Row | None:
        """Return the first row; see Reader."""
        try:
            text, arguments = self._translations.bind(query, values, named)
        except InvalidRequestError:
            return None  # no row has such a text
        return cast("Row | None", await self._read(lambda connection: connection.fetchrow(text, *arguments)))

    async def value(self, query: str, /, *values: object, **named: object) -> Any:
        """Return the first column of the first row; see Reader."""
        row = await self.one(query, *values, **named)
        return None if row is None else row[0]

    async def all(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows; see Reader."""
        try:
            text, arguments = self._translations.bind(query, values, named)
        except InvalidRequestError:
            return []
        return cast("list[Row]", await self._read(lambda connection: connection.fetch(text, *arguments)))

    async def write(
        self,
        work: Work[T],
        *,
        frees_space: bool = False,  # noqa: ARG002 - the server has no reserve
        is_durable: bool = True,  # noqa: ARG002 - a server may end while Berth goes on, and then nothing may be missing
    ) -> T:
        """Run `work` as one transaction; see Database. It is durable in any case."""
        task = asyncio.create_task(self._write(work))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await shielded(task)  # a cancelled caller does not stop it halfway

    async def tidy(self) -> None:
        """Do nothing: the server vacuums; see Database."""

    async def release_space(self) -> int:
        """Return 0: the server vacuums; see Database."""
        return 0

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove rows that were deleted long ago; see Database."""

        async def remove(transaction: Transaction) -> int:
            removed = 0
            for query in REMOVALS:
                removed += await transaction.run(query, deleted_before, limit - removed)
            return removed

        return await self.write(remove)

    async def _read(self, fetch: "Callable[[Connection], Awaitable[T]]") -> T:
        """Run a query, once more if the connection turns out to be lost: a query changes nothing."""
        for may_repeat in (True, False):
            connection = None
            try:
                connection = await self._open_pool().borrow()
                result = await fetch(connection)
            except BaseException as error:
                is_lost = connection is not None and connection.is_closed()
                if connection is not None:
                    self._open_pool().give_back_after(connection, error)
                if isinstance(error, FAILURES):
                    if is_lost and may_repeat:
                        self._open_pool().close_idle()
                        continue
                    raise translate(error) from error
                raise
            self._open_pool().give_back(connection)
            return result
        raise closed_error()

    async def _write(self, work: Work[T]) -> T:
        """Run a transaction, again if others hindered it."""
        for number in range(1, _TRIES + 1):
            try:
                async with self._open_pool().writing:
                    return await self._transact(work)
            except (*FAILURES, ConflictError) as error:
                if not is_hindered(error) or number == _TRIES:
                    raise translate(error) from error
            await asyncio.sleep(_PAUSE_SECONDS * 2**number * random.random())  # noqa: S311 - only spreads them
        raise closed_error()

    async def _transact(self, work: Work[T]) -> T:
        pool = self._open_pool()
        connection = await self._begin(pool)
        try:
            result = await work(PostgresTransaction(connection, self._translations))
            await _commit(connection)
        except asyncpg.ReadOnlySQLTransactionError:
            # Others may lead to another server by now, or to the same one with other settings.
            pool.discard(connection)
            pool.close_idle()
            raise
        except BaseException:
            await _roll_back(pool, connection)
            raise
        pool.give_back(connection)
        return result

    async def _begin(self, pool: Pool) -> "Connection":
        """Begin a transaction, on another connection if the first one turns out to be lost."""
        for may_repeat in (True, False):
            connection = await pool.borrow()
            try:
                await connection.execute(BEGIN)
            except BaseException as error:
                pool.discard(connection)
                if not (may_repeat and isinstance(error, FAILURES)):
                    raise
                pool.close_idle()
            else:
                return connection
        raise closed_error()

    def _open_pool(self) -> Pool:
        if self._pool is None:
            raise closed_error()
        return self._pool


async def _commit(connection: "Connection") -> None:
    """Commit. The server answers with a rollback, and no error, if a statement before has failed."""
    if await connection.execute(COMMIT) != COMMIT:
        raise unavailable("The store failed.")


async def _roll_back(pool: Pool, connection: "Connection") -> None:
    """End a transaction that failed, and give back its connection."""
    try:
        await connection.execute(ROLLBACK)
    except FAILURES:
        pool.discard(connection)
    except BaseException:
        pool.discard(connection)
        raise
    else:
        pool.give_back(connection)
