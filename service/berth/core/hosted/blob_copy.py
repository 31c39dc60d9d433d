"""Copies all content that rows refer to into another blob store, for backups."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from hashlib import sha256

from berth.core.errors import DAMAGED, NotFoundError, StorageError
from berth.core.ports.blob_store import BlobStore, StoredContent
from berth.core.ports.inventory import Inventory

_PAGE = 500
_AT_ONCE = 8
"""How many blobs are copied at the same time: small ones mostly wait for the disk."""
_LARGE_BYTES = 4 * 1024 * 1024
_LARGE_AT_ONCE = 3
"""How many large blobs are copied at the same time: a bucket takes about 10 MiB of memory for each."""


class BlobCopy:
    """Copies the blobs of `inventory` from `source` to `target`, those that are not there yet.

    The source must keep them meanwhile. Content that is missing or has another SHA-256 is not copied. What is there has
    the right size; with `verifies` it must have the right SHA-256 as well.
    """

    def __init__(self, inventory: Inventory, source: BlobStore, target: BlobStore, *, verifies: bool = False) -> None:
        self._inventory = inventory
        self._source = source
        self._target = target
        self._verifies = verifies
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self.copied = self.present = self.bytes = 0
        """The number of blobs that were copied and that were there, and how many bytes were copied."""

    async def run(self) -> list[str]:
        """Copy, and return a sentence for each blob that cannot be copied. StorageError if the target fails."""
        problems: list[str] = []
        async for group in self._groups():
            results = await asyncio.gather(*map(self._copy_in_turn, group))
            problems += [f"blob {stored.blob} {text}" for stored, text in zip(group, results, strict=True) if text]
        return problems

    async def remove_others(self) -> None:
        """Delete from the target what no row of the inventory refers to."""
        async for keys in self._target.older_than(0):
            await self._target.delete(await self._inventory.unreferenced(keys))

    async def _groups(self) -> AsyncIterator[Sequence[StoredContent]]:
        after = ""
        while rows := await self._inventory.list_blobs(after=after, limit=_PAGE):
            for start in range(0, len(rows), _AT_ONCE):
                yield [row.stored for row in rows[start : start + _AT_ONCE]]
            after = rows[-1].stored.blob

    async def _copy_in_turn(self, stored: StoredContent) -> str:
        """Copy a blob, a large one after others; return what is wrong with it, empty if nothing is."""
        async with self._large if stored.bytes > _LARGE_BYTES else nullcontext():
            return await self._copy(stored)

    async def _copy(self, stored: StoredContent) -> str:
        """Copy a blob if it is not there yet; return what is wrong with it, empty if nothing is."""
        if await self._is_present(stored):
            self.present += 1
            return ""
        try:
            await self._target.put(stored.blob, _verified(self._source, stored))
        except _SourceError as error:
            return str(error)
        self.copied += 1
        self.bytes += stored.bytes
        return ""

    async def _is_present(self, stored: StoredContent) -> bool:
        if await self._target.size(stored.blob) != stored.bytes:
            return False
        try:
            if self._verifies:
                async for _ in _verified(self._target, stored):
                    pass
        except _SourceError:
            return False
        return True


async def _verified(blobs: BlobStore, stored: StoredContent) -> AsyncIterator[bytes]:
    """Yield the content of a blob; _SourceError if it cannot be read or is not what was stored."""
    seen = sha256()
    try:
        async for chunk in await blobs.get(stored.blob, offset=0, length=stored.bytes):
            seen.update(chunk)
            yield chunk
    except NotFoundError as error:
        raise _SourceError("is missing") from error
    except StorageError as error:
        raise _SourceError("is too short" if error.code == DAMAGED else "cannot be read") from error
    if seen.hexdigest() != stored.sha256:
        raise _SourceError("does not have its SHA-256")


class _SourceError(Exception):
    """The content of a blob is not what was stored."""
