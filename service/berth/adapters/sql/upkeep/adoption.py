"""Rows of containers and files that Berth did not create: tenants found them in their own accounts at providers.

Such a row can be forgotten at any time: the next use of the resource adds it again. So there are not too many of them.
The row of a container that Berth did create at a provider says who may reach it. It is forgotten long after the
container expired, because most containers at providers are never deleted.
"""

from berth.adapters.sql.database import Database, Row, Transaction
from berth.core.ports.container_store import ForeignRow
from berth.core.providers import PROVIDERS

_LONG_AGO = 1
"""The time of deletion of a forgotten row: the next sweep removes it, because it marks no position in any list."""
_FIND = "SELECT seq, key_name, deleted_at, adopted_at FROM {table} WHERE id = ? AND provider = ? AND tenant = ?"
_INSERT = "INSERT INTO {table} ({columns}, tenant, attempt) VALUES ({places}) ON CONFLICT DO NOTHING"
_UPDATE = "UPDATE {table} SET ({columns}, tenant, attempt) = ({places}), deleted_at = NULL WHERE seq = ?"
_OLDEST = """
    UPDATE {table} SET deleted_at = ? WHERE seq IN (
        SELECT seq FROM {table} WHERE tenant = ? AND deleted_at IS NULL AND adopted_at IS NOT NULL
        ORDER BY adopted_at DESC, seq DESC LIMIT 9223372036854775807 OFFSET ?
    )
"""
EXPIRED = """
    SELECT seq FROM containers
    WHERE deleted_at IS NULL AND adopted_at IS NOT NULL AND (last_active_at + expires_minutes * 60) < :before
    LIMIT :limit
"""
# A provider may report no time at all, or one of a clock that is wrong.
CREATED_EXPIRED = """
    SELECT seq FROM containers
    WHERE deleted_at IS NULL AND adopted_at IS NULL AND key_name != ''
    AND (last_active_at + expires_minutes * 60) < :before
    AND last_active_at > 0 AND coalesce(metered_from, 0) < :before LIMIT :limit
"""
_FORGET = "UPDATE containers SET deleted_at = :deleted_at WHERE seq IN ({expired})"


async def adopt(transaction: Transaction, table: str, columns: str, values: Row, *, keep: int) -> bool:
    """Add or update the row of an adopted resource, and forget the oldest ones of its tenant beyond `keep`.

    `values` are those of `columns`, which begin with the id and the provider, and then the tenant and the attempt.
    Return whether the resource is new. A row that was not adopted stays as it is.
    """
    resource_id, provider, tenant = values[0], values[1], values[-2]
    await transaction.serialize(table, tenant)
    found = await transaction.lock(_FIND.format(table=table), resource_id, provider, tenant)
    form = {"table": table, "columns": columns, "places": ", ".join("?" * len(values))}
    if not found:
        if not await transaction.run(_INSERT.format(**form), *values):
            return False  # another call has added it in the meantime
        await transaction.run(_OLDEST.format(table=table), _LONG_AGO, tenant, keep)
        return True
    seq, key, deleted_at, adopted_at = found[0]
    if not key or (deleted_at is None and adopted_at is None):
        return False
    await transaction.run(_UPDATE.format(**form), *values, seq)
    return deleted_at is not None


async def foreign_rows(database: Database, query: str, resource_id: str, tenant: str) -> list[ForeignRow]:
    """Return the providers, the names of the keys and the tenants that `query` finds in the rows of other tenants."""
    rows = await database.all(query, resource_id, tenant)
    return [ForeignRow(PROVIDERS[provider], key, owner) for provider, key, owner in rows]


async def forget_expired(transaction: Transaction, *, expired_before: int, limit: int, adopted: bool) -> int:
    """Forget containers, adopted or created ones, that expired before a time; return how many there were."""
    query = _FORGET.format(expired=EXPIRED if adopted else CREATED_EXPIRED)
    return await transaction.run(query, deleted_at=_LONG_AGO, before=expired_before, limit=limit)
