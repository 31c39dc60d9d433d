"""BlobStore: the port for file content, and what rows say about it."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, Protocol


class StoredContent(NamedTuple):
    """Bytes in the BlobStore: their key, their digest in 64 hexadecimal digits, and how many there are."""

    blob: str
    sha256: str
    bytes: int


class BlobStore(Protocol):
    """Bytes under keys. A blob is whole or it is not there; a key is put once, and nothing changes its blob."""

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store what `chunks` yields, durably, with bounded memory.

        An error out of `chunks` passes through, and nothing stays behind; the
        same on cancellation.
        """

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Return an iterator over `length` bytes from `offset`, both within the blob.

        NotFoundError, before the first byte, if there is no such blob; also out
        of the iterator, if it is deleted while it is read.
        """

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; one that is not there is no error."""

    def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of the blobs that were put `seconds` ago or longer, some at a time.

        Also those of bytes that are no blob, if nothing was added to them for so
        long: their put was killed, or waits in vain, and fails once they are deleted.
        """


class BlobReferences(Protocol):
    """The rows of files, as far as they say where bytes are.

    The same content is held once. One that was found damaged is not offered to
    new uploads: the next one brings it anew, for every file that has it.
    """

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return the blob that a new upload of some content would share, None if no file has the content."""

    async def note_damage(self, blob: str) -> int:
        """Note that a blob is not what was stored, or missing.

        Return how often that was noted since it was put, this time included; 0
        if no file has it, and then nothing is noted.
        """
