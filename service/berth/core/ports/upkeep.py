"""Upkeep: the port for what keeps the rows of the stores from growing for ever."""

from typing import NamedTuple, Protocol


class SweepClock(NamedTuple):
    """The clock as a sweep saw it: at `seen_at`, and since `steady_since` it was not set. Seconds since 1970."""

    seen_at: int
    steady_since: int


class Upkeep(Protocol):
    """Removes rows that are of no use any more. Every method may raise StorageError."""

    async def claim(self, *, seconds: int) -> bool:
        """Return whether this process may sweep, and no other, for some seconds or until `release`."""

    async def release(self) -> None:
        """Let other processes sweep."""

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove at most `limit` rows of containers and files that were deleted before a time, in seconds since 1970.

        Return how many were removed. From then on their ids are like those that were never issued.
        """

    async def remove_expired_keys(self, *, now: int, limit: int) -> int:
        """Remove at most `limit` records of idempotency keys that have expired at `now`; return how many."""

    async def close_meters(self) -> None:
        """Finish counting the usage of containers that have ended."""

    async def remove_usage(self, *, before_day: int, limit: int) -> int:
        """Remove at most `limit` rows of the usage of days before a day, in days since 1970; return how many."""

    async def release_space(self) -> int:
        """Return some of the free space of the store to the disk; return how many bytes, 0 if there is no more."""

    async def last_clock(self) -> SweepClock | None:
        """Return what `store_clock` stored last, also before a restart; None if it never did."""

    async def store_clock(self, clock: SweepClock) -> None:
        """Store the clock as a sweep saw it."""
