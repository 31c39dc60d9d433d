"""SqlIdempotency: the IdempotencyStore in the database of the resources that the requests create."""

import json
from collections.abc import Sequence
from typing import Any

from berth.adapters.sql.database import Database, Transaction
from berth.core.ports.idempotency_store import IdempotencyRecord, Slot

_FIELDS = ("operation", "attempt", "owner", "lease_until", "expires_at", "fingerprint", "outcome")
_COLUMNS = ", ".join(_FIELDS)
_FIND = f"SELECT {_COLUMNS} FROM idempotency WHERE tenant = ? AND key = ?"  # noqa: S608 - constants
_CLAIM = f"""
    INSERT INTO idempotency ({_COLUMNS}, tenant, key)
    VALUES (:{", :".join(_FIELDS)}, :tenant, :key)
    ON CONFLICT (tenant, key) DO UPDATE SET ({_COLUMNS}) = (excluded.{", excluded.".join(_FIELDS)})
    WHERE idempotency.expires_at <= :now OR (idempotency.fingerprint IS NULL AND idempotency.lease_until <= :now)
"""  # noqa: S608 - constants
"""Takes a slot that is free or has a record that is over; see `IdempotencyRecord.is_over`."""
_OWN = "WHERE tenant = ? AND key = ? AND attempt = ? AND owner = ? AND outcome IS NULL"
_TAKE_OVER = f"UPDATE idempotency SET owner = ?, lease_until = ? {_OWN} AND lease_until = ?"  # noqa: S608 - constants
_STORE_FINGERPRINT = f"UPDATE idempotency SET fingerprint = ? {_OWN}"  # noqa: S608 - constants
_FINISH = f"UPDATE idempotency SET outcome = ? {_OWN}"  # noqa: S608 - constants
_RELEASE = f"DELETE FROM idempotency {_OWN}"  # noqa: S608 - constants
_ABANDON = f"UPDATE idempotency SET lease_until = 0 {_OWN}"  # noqa: S608 - constants
_RENEW = """
    UPDATE idempotency SET lease_until = ?
    WHERE owner = ? AND outcome IS NULL AND lease_until > 0 AND attempt IN (SELECT value FROM json_each(?))
"""
_CONTAINER = "SELECT id FROM containers WHERE attempt = ? AND tenant = ?"
_CONTAINER_FILE = """
    SELECT containers.id, files.id FROM files JOIN containers ON containers.seq = files.container_seq
    WHERE files.attempt = ? AND containers.tenant = ?
"""
_FILE = "SELECT id FROM tenant_files WHERE attempt = ? AND tenant = ?"


class SqlIdempotency:
    """An IdempotencyStore in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(self, slot: Slot, record: IdempotencyRecord, *, now: int) -> IdempotencyRecord | None:
        """Acquire a slot; see IdempotencyStore."""
        return await self._database.write(lambda transaction: _acquire(transaction, slot, record=record, now=now))

    async def take_over(self, slot: Slot, found: IdempotencyRecord, *, owner: str, lease_until: int) -> bool:
        """Take over a lease; see IdempotencyStore."""
        return bool(await self._execute(_TAKE_OVER, owner, lease_until, *_own(slot, found), found.lease_until))

    async def store_fingerprint(self, slot: Slot, record: IdempotencyRecord, *, fingerprint: bytes) -> bool:
        """Store a fingerprint; see IdempotencyStore."""
        return bool(await self._execute(_STORE_FINGERPRINT, fingerprint, *_own(slot, record)))

    async def finish(self, slot: Slot, record: IdempotencyRecord, *, outcome: bytes) -> None:
        """Store an outcome; see IdempotencyStore."""
        await self._execute(_FINISH, outcome, *_own(slot, record))

    async def release(self, slot: Slot, record: IdempotencyRecord) -> None:
        """Remove a record; see IdempotencyStore."""
        await self._execute(_RELEASE, *_own(slot, record))

    async def abandon(self, slot: Slot, record: IdempotencyRecord) -> None:
        """End a lease; see IdempotencyStore."""
        await self._execute(_ABANDON, *_own(slot, record))

    async def renew(self, owner: str, attempts: Sequence[str], *, lease_until: int) -> None:
        """Extend leases; see IdempotencyStore."""
        await self._execute(_RENEW, lease_until, owner, json.dumps(list(attempts)))

    async def find_container(self, tenant: str, attempt: str) -> str | None:
        """Return the id of the container that an attempt created; see IdempotencyStore."""
        container_id: str | None = await self._database.value(_CONTAINER, attempt, tenant)
        return container_id

    async def find_container_file(self, tenant: str, attempt: str) -> tuple[str, str] | None:
        """Return the ids of the container and the container file that an attempt created; see IdempotencyStore."""
        row = await self._database.one(_CONTAINER_FILE, attempt, tenant)
        if row is None:
            return None
        container_id, file_id = row
        return container_id, file_id

    async def find_file(self, tenant: str, attempt: str) -> str | None:
        """Return the id of the file that an attempt created; see IdempotencyStore."""
        file_id: str | None = await self._database.value(_FILE, attempt, tenant)
        return file_id

    async def _execute(self, query: str, *values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        return await self._database.write(lambda transaction: transaction.run(query, *values))


def _own(slot: Slot, record: IdempotencyRecord) -> tuple[str, bytes, str, str]:
    """Return the values of the condition _OWN."""
    return (*slot, record.attempt, record.owner)


async def _acquire(
    transaction: Transaction, slot: Slot, *, record: IdempotencyRecord, now: int
) -> IdempotencyRecord | None:
    fields = {name: getattr(record, name) for name in _FIELDS}
    while not await transaction.run(_CLAIM, **fields, tenant=slot.tenant, key=slot.key, now=now):
        row = await transaction.one(_FIND, *slot)
        if row is not None:  # it was not released in the meantime
            return IdempotencyRecord(*row)
    return None
