"""What is removed by nobody's wish: what has expired, and bytes that a crash left without a row."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_store import FileStore

BATCH = 100
"""Rows that are removed in one transaction."""
GRACE_SECONDS = 3_600
"""How old bytes without a row are when they go: once an upload is whole, it gets its row within moments."""


class SweepResult(NamedTuple):
    """How many containers and files had expired, and how many blobs nobody held."""

    containers: int
    files: int
    blobs: int


class Sweeper:
    """Sweeps stores, which more than one process may do at a time.

    A container goes when it has been expired for `retention_seconds`.
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
        """Remove all that is to go. StorageError where a store fails; what was removed before that is removed."""
        containers = await self._purge(self._purge_containers)
        files = await self._purge(lambda: self._files.purge(limit=BATCH))
        return SweepResult(containers, files, await self._unreferenced())

    async def _purge_containers(self) -> tuple[int, Sequence[str]]:
        return await self._containers.purge(retention_seconds=self._retention_seconds, limit=BATCH)

    async def _purge(self, some: Callable[[], Awaitable[tuple[int, Sequence[str]]]]) -> int:
        """Purge some at a time until all are gone: rows before their bytes."""
        total = 0
        while True:
            count, blobs = await some()
            await self._blobs.delete(blobs)
            total += count
            if count < BATCH:
                return total

    async def _unreferenced(self) -> int:
        total = 0
        async for keys in self._blobs.older_than(self._grace_seconds):
            unreferenced = await self._files.unreferenced(keys)
            await self._blobs.delete(unreferenced)
            total += len(unreferenced)
        return total
