"""Removes expired containers and files, and unreferenced blobs that a crash has left."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_store import FileStore

BATCH = 100
"""The rows that are removed in one transaction."""
GRACE_SECONDS = 3_600
"""The age at which an unreferenced blob is removed; a complete upload gets its row within moments."""


class SweepResult(NamedTuple):
    """The numbers of expired containers and files, and of unreferenced blobs, that were removed."""

    containers: int
    files: int
    blobs: int


class Sweeper:
    """Removes what has expired or is unreferenced; several processes may do so at the same time.

    A container is removed when it has been expired for `retention_seconds`.
    """

    def __init__(
        self,
        containers: ContainerStore,
        files: FileStore,
        blobs: BlobStore,
        *,
        retention_seconds: int,
        grace_seconds: int = GRACE_SECONDS,
    ) -> None:
        self._containers = containers
        self._files = files
        self._blobs = blobs
        self._retention_seconds = retention_seconds
        self._grace_seconds = grace_seconds

    async def sweep(self) -> SweepResult:
        """Remove everything that is due. StorageError if a store fails; what was removed before stays removed."""
        containers = await self._purge(self._purge_containers)
        files = await self._purge(lambda: self._files.purge(limit=BATCH))
        return SweepResult(containers, files, await self._remove_unreferenced())

    async def _purge_containers(self) -> tuple[int, Sequence[str]]:
        return await self._containers.purge(retention_seconds=self._retention_seconds, limit=BATCH)

    async def _purge(self, purge_batch: Callable[[], Awaitable[tuple[int, Sequence[str]]]]) -> int:
        """Purge batches until nothing is left: first the rows, then their blobs."""
        total = 0
        while True:
            count, blobs = await purge_batch()
            await self._blobs.delete(blobs)
            total += count
            if count < BATCH:
                return total

    async def _remove_unreferenced(self) -> int:
        total = 0
        async for keys in self._blobs.older_than(self._grace_seconds):
            unreferenced = await self._files.unreferenced(keys)
            await self._blobs.delete(unreferenced)
            total += len(unreferenced)
        return total
