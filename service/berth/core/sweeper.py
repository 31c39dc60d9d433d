"""What is removed by nobody's wish: files whose time has come, and bytes that a crash left without a row."""

from typing import NamedTuple

from berth.core.file_store import FileStore
from berth.core.stores import BlobStore

BATCH = 100
"""Rows that are removed in one transaction."""
GRACE_SECONDS = 3_600
"""How old bytes without a row are when they go: those of an upload get their row within moments."""


class Swept(NamedTuple):
    """How many files had expired, and how many blobs nobody held."""

    files: int
    blobs: int


class Sweeper:
    """Sweeps a FileStore and a BlobStore, which more than one process may do at a time."""

    def __init__(self, files: FileStore, blobs: BlobStore, *, grace_seconds: int = GRACE_SECONDS) -> None:
        self._files = files
        self._blobs = blobs
        self._grace_seconds = grace_seconds

    async def sweep(self) -> Swept:
        """Remove all that is to go. StorageError where a store fails; what was removed before that is removed."""
        return Swept(await self._expired(), await self._unheld())

    async def _expired(self) -> int:
        """Remove expired files: each row before its bytes."""
        total = 0
        while True:
            count, blobs = await self._files.purge(limit=BATCH)
            await self._blobs.delete(blobs)
            total += count
            if count < BATCH:
                return total

    async def _unheld(self) -> int:
        total = 0
        async for keys in self._blobs.older_than(self._grace_seconds):
            unheld = await self._files.unheld(keys)
            await self._blobs.delete(unheld)
            total += len(unheld)
        return total
