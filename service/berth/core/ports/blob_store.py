"""BlobStore: the port for file content, and BlobReferences: what rows know about blobs."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, Protocol

Checksums = bytes
"""The CRC-32 of each block of 4 MiB of some content, 4 bytes each, in big-endian order."""


class StoredContent(NamedTuple):
    """Content in the BlobStore: its key, its SHA-256 digest in 64 hexadecimal digits, and its size in bytes.

    `block_sums` are the checksums of its blocks, None if they are unknown.
    """

    blob: str
    sha256: str
    bytes: int
    block_sums: Checksums | None = None


class BlobState(NamedTuple):
    """What is known about a blob: whether damage was recorded, and the checksums of its blocks, None if unknown."""

    is_damaged: bool
    block_sums: Checksums | None


class BlobStore(Protocol):
    """Stores blobs by key. A blob is complete or does not exist; each key is put once, and its blob never changes."""

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store what `chunks` yields, durably, with bounded memory.

        If `chunks` raises an error, it is passed on and nothing remains stored; the same on
        cancellation.
        """

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Return an iterator over `length` bytes from `offset`, both within the blob.

        NotFoundError if there is no such blob: before the first byte, or out of the iterator if the
        blob is deleted while it is read.
        """

    async def size(self, key: str) -> int | None:
        """Return the number of bytes of a blob, None if there is no such blob."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; a blob that does not exist is not an error."""

    def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of the blobs that were put at least `seconds` ago, some at a time.

        Includes incomplete blobs to which nothing was added for as long: their `put` was killed or
        is stuck, and a stuck one fails once they are deleted. Their keys begin with a dot.
        """


class BlobReferences(Protocol):
    """The references of file rows to blobs.

    The same content is stored once. A blob that was found damaged is not reused for new uploads:
    the next upload of its content replaces it for every file that refers to it.
    """

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return the blob that a new upload of some content would share, None if no file has the content."""

    async def blob_state(self, blob: str) -> BlobState | None:
        """Return what is known about a blob, None if no file refers to it.

        The checksums are those of the upload that stored the blob or, if that one had none, of a
        later upload of the same content.
        """

    async def note_damage(self, blob: str) -> int:
        """Record that a blob is damaged or missing.

        Return how often this was recorded since the blob was put, including this time; 0 if no file
        refers to the blob, and then nothing is recorded.
        """
