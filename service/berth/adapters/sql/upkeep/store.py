"""SqlUpkeep: the Upkeep of a database."""

from collections.abc import Callable

from berth.adapters.sql.database import Database
from berth.adapters.sql.usage.counting import remove_usage
from berth.adapters.sql.usage.meters import read_all_meters
from berth.core.ports.upkeep import SweepClock

_REMOVE_IDEMPOTENCY = """
    DELETE FROM idempotency
    WHERE (tenant, key) IN (SELECT tenant, key FROM idempotency WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)
"""
_LAST_CLOCK = "SELECT seen_at, steady_since FROM sweep_clock WHERE id = 1"
_STORE_CLOCK = """
    INSERT INTO sweep_clock (id, seen_at, steady_since) VALUES (1, ?, ?)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, steady_since = excluded.steady_since
"""
_SWEEP = "sweep"
_LEAD = """
    INSERT INTO leases (name, owner, lease_until) VALUES (:name, :owner, :until)
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
    WHERE leases.owner = excluded.owner OR leases.lease_until <= :now
"""


class SqlUpkeep:
    """An Upkeep of `database` for the process `owner`; `now` gives seconds since 1970, by default the database's."""

    def __init__(self, database: Database, *, owner: str = "", now: Callable[[], float] | None = None) -> None:
        self._database = database
        self._owner = owner
        self._now = now or database.now

    async def claim(self, *, seconds: int) -> bool:
        """Return whether this process may sweep; see Upkeep."""
        return bool(await self._claim(int(self._now()) + seconds))

    async def release(self) -> None:
        """Let other processes sweep; see Upkeep."""
        await self._claim(0)

    async def _claim(self, until: int) -> int:
        values = {"name": _SWEEP, "owner": self._owner, "until": until, "now": int(self._now())}
        return await self._database.write(lambda transaction: transaction.run(_LEAD, **values), frees_space=True)

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove rows that were deleted long ago; see Upkeep."""
        return await self._database.remove_deleted(deleted_before=deleted_before, limit=limit)

    async def remove_expired_keys(self, *, now: int, limit: int) -> int:
        """Remove expired records of idempotency keys; see Upkeep."""
        return await self._database.write(
            lambda transaction: transaction.run(_REMOVE_IDEMPOTENCY, now, limit), frees_space=True
        )

    async def close_meters(self) -> None:
        """Finish counting what has ended; see Upkeep."""
        await read_all_meters(self._database, now=self._now, only_ended=True)

    async def remove_usage(self, *, before_day: int, limit: int) -> int:
        """Remove old rows of usage; see Upkeep."""
        return await self._database.write(
            lambda transaction: remove_usage(transaction, before_day=before_day, limit=limit), frees_space=True
        )

    async def release_space(self) -> int:
        """Return free space to the disk; see Upkeep."""
        return await self._database.release_space()

    async def last_clock(self) -> SweepClock | None:
        """Return what the last sweep stored; see Upkeep."""
        row = await self._database.one(_LAST_CLOCK)
        return None if row is None else SweepClock._make(row)

    async def store_clock(self, clock: SweepClock) -> None:
        """Store the clock of a sweep; see Upkeep."""
        await self._database.write(lambda transaction: transaction.run(_STORE_CLOCK, *clock))
