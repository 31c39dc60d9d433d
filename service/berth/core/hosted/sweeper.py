"""Removes expired containers and files, rows of deleted ones, and unreferenced blobs that a crash has left."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from berth.core.hosted.steady_clock import SteadyClock
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_store import FileStore
from berth.core.ports.upkeep import Upkeep

BATCH = 100
"""The rows that are removed in one transaction."""
GRACE_SECONDS = 3_600
"""The age at which an unreferenced blob is removed; a complete upload gets its row within moments."""


class SweepResult(NamedTuple):
    """The numbers of what was removed: expired containers and files, unreferenced blobs, rows, idempotency keys.

    `bytes` is the space that the database gave back to the disk.
    """

    containers: int = 0
    files: int = 0
    blobs: int = 0
    rows: int = 0
    keys: int = 0
    bytes: int = 0


class Sweeper:
    """Removes what has expired or is unreferenced; several processes may do so at the same time.

    A container is removed when it has been expired for `retention_seconds`, the row of a deleted container or file
    when it has been deleted for `tombstone_seconds`. Nothing is removed while `clock` is not steady.
    """

    def __init__(
        self,
        containers: ContainerStore,
        files: FileStore,
        blobs: BlobStore,
        upkeep: Upkeep,
        *,
        clock: SteadyClock,
        retention_seconds: int,
        tombstone_seconds: int,
        grace_seconds: int = GRACE_SECONDS,
    ) -> None:
        self._containers = containers
        self._files = files
        self._blobs = blobs
        self._upkeep = upkeep
        self._clock = clock
        self._retention_seconds = retention_seconds
        self._tombstone_seconds = tombstone_seconds
        self._grace_seconds = grace_seconds

    async def sweep(self) -> SweepResult | None:
        """Remove everything that is due; return None if nothing was because the clock was set lately.

        StorageError if a store fails; what was removed before stays removed.
        """
        if not self._clock.has_started:
            self._clock.start(await self._upkeep.last_clock())
        swept = await self._sweep() if self._clock.is_steady() else None
        await self._upkeep.store_clock(self._clock.seen())
        return swept

    async def _sweep(self) -> SweepResult:
        return SweepResult(
            containers=await self._repeat(self._purge_containers),
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
            if count < BATCH:
                break
        return total

    async def _purge_containers(self) -> int:
        purged = self._containers.purge(retention_seconds=self._retention_seconds, limit=BATCH)
        return await self._delete_blobs(purged)

    async def _purge_files(self) -> int:
        return await self._delete_blobs(self._files.purge(limit=BATCH))

    async def _delete_blobs(self, purge: Awaitable[tuple[int, Sequence[str]]]) -> int:
        """Remove first the rows, then their blobs; return the number of rows."""
        count, blobs = await purge
        await self._blobs.delete(blobs)
        return count

    async def _remove_rows(self) -> int:
        return await self._upkeep.remove_deleted(
            deleted_before=self._clock.now() - self._tombstone_seconds, limit=BATCH
        )

    async def _remove_keys(self) -> int:
        return await self._upkeep.remove_expired_keys(now=self._clock.now(), limit=BATCH)

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
        return total
