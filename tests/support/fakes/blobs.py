"""A fake of BlobStore, in memory, that passes its contract."""

from collections.abc import AsyncIterator, Iterable, Sequence

from berth.core.errors import NotFoundError


class MemoryBlobs:
    """A BlobStore in a dictionary, which tests may look into: `blobs`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob; see BlobStore."""
        self.blobs[key] = b"".join([chunk async for chunk in chunks])

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Open a blob; see BlobStore."""
        if key not in self.blobs:
            raise NotFoundError("The file is gone: it was deleted meanwhile.")
        return _chunks(self.blobs[key][offset : offset + length])

    async def size(self, key: str) -> int | None:
        """Return the size of a blob; see BlobStore."""
        return len(self.blobs[key]) if key in self.blobs else None

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; see BlobStore."""
        for key in keys:
            self.blobs.pop(key, None)

    async def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield keys; see BlobStore. Nothing here has an age: all are old for 0 seconds, and none for more."""
        yield [] if seconds else list(self.blobs)


async def _chunks(content: bytes, *, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
