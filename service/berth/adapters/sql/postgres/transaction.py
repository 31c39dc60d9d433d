"""A transaction on PostgreSQL. Its isolation is READ COMMITTED: what must not change is locked."""

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from berth.adapters.sql.database import Row
from berth.adapters.sql.errors import ConflictError
from berth.adapters.sql.postgres.dialect import Translations
from berth.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from berth.adapters.sql.postgres.connections import Connection

BEGIN, COMMIT, ROLLBACK = "BEGIN ISOLATION LEVEL READ COMMITTED", "COMMIT", "ROLLBACK"
_SERIALIZE = "SELECT pg_advisory_xact_lock($1)"
_LOCK_BYTES = 8


class PostgresTransaction:
    """A Transaction on `connection`, which is in one."""

    def __init__(self, connection: "Connection", translations: Translations) -> None:
        self._connection = connection
        self._bind = translations.bind

    async def one(self, query: str, /, *values: object, **named: object) -> Row | None:
        """Return the first row; see Reader."""
        try:
            text, arguments = self._bind(query, values, named)
        except InvalidRequestError:
            return None  # no row has such a text
        return cast("Row | None", await self._connection.fetchrow(text, *arguments))

    async def value(self, query: str, /, *values: object, **named: object) -> Any:
        """Return the first column of the first row; see Reader."""
        row = await self.one(query, *values, **named)
        return None if row is None else row[0]

    async def all(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows; see Reader."""
        try:
            text, arguments = self._bind(query, values, named)
        except InvalidRequestError:
            return []
        return cast("list[Row]", await self._connection.fetch(text, *arguments))

    async def lock(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Lock and return all rows; see Transaction."""
        return await self.all(f"{query} FOR UPDATE", *values, **named)

    async def lock_only(self, query: str, /, *values: object, **named: object) -> None:
        """Lock all rows; see Transaction."""
        await self.lock(query, *values, **named)

    async def lock_free(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Lock and return the rows that are free; see Transaction."""
        return await self.all(f"{query} FOR UPDATE SKIP LOCKED", *values, **named)

    async def serialize(self, *names: str) -> None:
        """Wait for the lock of some names; see Transaction."""
        digest = blake2b("\n".join(names).encode("utf-8", "surrogatepass"), digest_size=_LOCK_BYTES).digest()
        await self._connection.fetchrow(_SERIALIZE, int.from_bytes(digest, "big", signed=True))

    async def run(self, statement: str, /, *values: object, **named: object) -> int:
        """Run a statement; see Transaction."""
        text, arguments = self._bind(statement, values, named)
        try:
            done = await self._connection.execute(text, *arguments)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise ConflictError from error
        return int(done.rpartition(" ")[2])

    async def insert(self, statement: str, /, *values: object, **named: object) -> int:
        """Add a row; see Transaction."""
        text, arguments = self._bind(statement, values, named)
        try:
            return int(await self._connection.fetchval(text, *arguments))
        except asyncpg.IntegrityConstraintViolationError as error:
            raise ConflictError from error

    async def run_many(self, statement: str, /, rows: list[Row]) -> None:
        """Run a statement once per row; see Transaction."""
        for row in rows:
            await self.run(statement, *row)
