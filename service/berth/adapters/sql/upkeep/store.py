"""SqlUpkeep: the Upkeep on SQLite."""

from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.upkeep.tidying import release_pages, remove_deleted
from berth.core.ports.upkeep import SweepClock

_STEP_PAGES = 256
"""How many pages are cut off at a time: 1 MiB, so that no other write waits for long."""
_REMOVE_IDEMPOTENCY = """
    DELETE FROM idempotency
    WHERE (tenant, key) IN (SELECT tenant, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""
_LAST_CLOCK = "SELECT seen_at, steady_since FROM sweep_clock WHERE id = 1"
_STORE_CLOCK = "INSERT OR REPLACE INTO sweep_clock (id, seen_at, steady_since) VALUES (1, ?, ?)"


class SqlUpkeep:
    """An Upkeep of `database`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove rows that were deleted long ago; see Upkeep."""
        return await self._database.run_alone(
            lambda connection: remove_deleted(connection, deleted_before=deleted_before, limit=limit)
        )

    async def remove_expired_keys(self, *, now: int, limit: int) -> int:
        """Remove expired records of idempotency keys; see Upkeep."""
        return await self._database.write(
            lambda connection: connection.execute(_REMOVE_IDEMPOTENCY, (now, limit)).rowcount, frees_space=True
        )

    async def release_space(self) -> int:
        """Return free space to the disk; see Upkeep."""
        return await self._database.run_alone(lambda connection: release_pages(connection, _STEP_PAGES))

    async def last_clock(self) -> SweepClock | None:
        """Return what the last sweep stored; see Upkeep."""
        row = self._database.one(_LAST_CLOCK)
        return None if row is None else SweepClock._make(row)

    async def store_clock(self, clock: SweepClock) -> None:
        """Store the clock of a sweep; see Upkeep."""
        await self._database.write(lambda connection: connection.execute(_STORE_CLOCK, clock))
