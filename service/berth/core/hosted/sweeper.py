"""Removes expired containers and files, rows of deleted ones, and unreferenced blobs that a crash has left."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from berth.core.errors import StorageError
from berth.core.hosted.steady_clock import SteadyClock
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_store import FileStore
from berth.core.ports.upkeep import Upkeep
from berth.core.usage.minutes import day_of

BATCH = 100
"""The rows that are removed in one transaction."""
LEASE_SECONDS = 60
"""How long one process alone may sweep before it asks again."""
GRACE_SECONDS = 3_600
"""The age at which an unreferenced blob is removed; a complete upload gets its row within moments."""


class SweepResult(NamedTuple):
    """The numbers of what was removed: expired containers and files, unreferenced blobs, rows, idempotency keys.

    `bytes` is the space that the database gave back to the disk, `usage` the number of old rows of usage.
    """

    containers: int = 0
    files: int = 0
    blobs: int = 0
    rows: int = 0
    keys: int = 0
    bytes: int = 0
    usage: int = 0


class Retention(NamedTuple):
    """How long something is kept: an expired container, hosted or adopted, a deleted row, a day of usage.

    A container that Berth created at a provider is kept as long as a deleted row.
    """

    expired_seconds: int
    deleted_seconds: int
    usage_days: int


class Sweeper:
    """Removes what has expired or is unreferenced, as `retention` says; one process does so at a time.

    Nothing is removed while `clock` is not steady.
    """

    def __init__(
        self,
        containers: ContainerStore,
        files: FileStore,
        blobs: BlobStore,
        upkeep: Upkeep,
        *,
        clock: SteadyClock,
        retention: Retention,
        grace_seconds: int = GRACE_SECONDS,
    ) -> None:
        self._containers = containers
        self._files = files
        self._blobs = blobs
        self._upkeep = upkeep
        self._clock = clock
        self._retention = retention
        self._grace_seconds = grace_seconds

    async def sweep(self) -> SweepResult | None:
        """Remove everything that is due; return None if nothing was because the clock was set lately.

        Nothing is removed while another process does so. StorageError if a store fails; what was removed before stays
        removed.
        """
        if not await self._upkeep.claim(seconds=LEASE_SECONDS):
            return SweepResult()
        try:
            return await self._sweep_alone()
        finally:
            with suppress(StorageError):  # the lease ends by itself; and no error may take the place of a cancellation
                await self._upkeep.release()

    async def _sweep_alone(self) -> SweepResult | None:
        if not self._clock.has_started:
            self._clock.start(await self._upkeep.last_clock())
        swept = await self._sweep() if self._clock.is_steady() else None
        await self._upkeep.store_clock(self._clock.seen())
        return swept

    async def _sweep(self) -> SweepResult:
        await self._upkeep.close_meters()
        return SweepResult(
            usage=await self._repeat(self._remove_usage),
            containers=await self._purge_all_containers(),
            files=await self._repeat(self._purge_files),
            blobs=await self._remove_unreferenced(),
            rows=await self._repeat(self._remove_rows),
            keys=await self._repeat(self._remove_keys),
            bytes=await self._release_space(),
        )

    async def _repeat(self, remove_batch: Callable[[], Awaitable[int]]) -> int:
        """Remove batches until nothing is left, or until the clock is set."""
        total = 0
        while self._clock.is_steady():
            count = await remove_batch()
            total += count
            if count < BATCH or not await self._upkeep.claim(seconds=LEASE_SECONDS):
                break
        return total

    async def _purge_all_containers(self) -> int:
        total = await self._repeat(self._purge_containers)
        total += await self._repeat(self._forget_adopted)
        total += await self._repeat(self._forget_created)
        while self._clock.is_steady() and (blobs := await self._containers.delete_leftovers()) is not None:
            await self._blobs.delete(blobs)
            if not await self._upkeep.claim(seconds=LEASE_SECONDS):
                break
        return total

    async def _purge_containers(self) -> int:
        purged = self._containers.purge(retention_seconds=self._retention.expired_seconds, limit=BATCH)
        return await self._delete_blobs(purged)

    async def _forget_adopted(self) -> int:
        return await self._containers.forget(
            retention_seconds=self._retention.expired_seconds, limit=BATCH, adopted=True
        )

    async def _forget_created(self) -> int:
        return await self._containers.forget(
            retention_seconds=self._retention.deleted_seconds, limit=BATCH, adopted=False
        )

    async def _purge_files(self) -> int:
        return await self._delete_blobs(self._files.purge(limit=BATCH))

    async def _delete_blobs(self, purge: Awaitable[tuple[int, Sequence[str]]]) -> int:
        """Remove first the rows, then their blobs; return the number of rows."""
        count, blobs = await purge
        await self._blobs.delete(blobs)
        return count

    async def _remove_rows(self) -> int:
        return await self._upkeep.remove_deleted(
            deleted_before=self._clock.now() - self._retention.deleted_seconds, limit=BATCH
        )

    async def _remove_keys(self) -> int:
        return await self._upkeep.remove_expired_keys(now=self._clock.now(), limit=BATCH)

    async def _remove_usage(self) -> int:
        return await self._upkeep.remove_usage(
            before_day=day_of(self._clock.now()) - self._retention.usage_days + 1, limit=BATCH
        )

    async def _release_space(self) -> int:
        total = 0
        while released := await self._upkeep.release_space():
            total += released
        return total

    async def _remove_unreferenced(self) -> int:
        total = 0
        async for keys in self._blobs.older_than(self._grace_seconds):
            unreferenced = await self._files.unreferenced(keys)
            await self._blobs.delete(unreferenced)
            total += len(unreferenced)
            if not await self._upkeep.claim(seconds=LEASE_SECONDS):
                break
        return total
