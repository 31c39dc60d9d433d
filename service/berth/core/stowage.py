"""How bytes get into the BlobStore, and out of it again as what they were.

Bytes are stored before anything refers to them. If their content is there
already, or nothing comes to refer to them, they go again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from typing import Protocol

from berth.core.checks import check_integer
from berth.core.completion import Completion
from berth.core.errors import InvalidRequestError, file_damaged
from berth.core.stores import BlobStore, StoredBytes

BLOB_DIGITS = 40
MAX_LENGTH = 2**63 - 1


class RangeRequest(Protocol):
    """A request for a range of a file."""

    offset: int
    length: int

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Tell whether an optional field was given."""


class Stowage:
    """Stores bytes whole, with their digest, or not at all; at most `max_bytes` at a time."""

    def __init__(
        self,
        blobs: BlobStore,
        *,
        max_bytes: int,
        new_id: Callable[[str, int], str],
        completion: Completion,
    ) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._new_id = new_id
        self._completion = completion

    async def put(self, chunks: AsyncIterator[bytes]) -> StoredBytes:
        """Store what `chunks` yields. InvalidRequestError (`file_too_large`) for too much."""
        name = self._new_id("", BLOB_DIGITS)
        blob = f"{name[:2]}/{name}"  # spread over folders
        tally = _Tally(chunks, maximum=self._max_bytes)
        await self._blobs.put(blob, aiter(tally))
        return StoredBytes(blob, tally.sha256, tally.bytes)

    async def keep(self, stored: StoredBytes, add: Callable[[], Awaitable[str]]) -> None:
        """Have `add` make a row for what was stored and name the blob that it refers to.

        It is seen through, and the bytes go if it fails or needs them not.
        """
        await self._completion.of(self._keep(stored, add))

    async def _keep(self, stored: StoredBytes, add: Callable[[], Awaitable[str]]) -> None:
        held = None
        try:
            held = await add()
        finally:
            if held != stored.blob:
                await self._blobs.delete([stored.blob])

    async def read(self, stored: StoredBytes, request: RangeRequest) -> tuple[AsyncIterator[bytes], int]:
        """Open what `request` asks for of stored bytes; return it and its length.

        InvalidRequestError for a range that cannot be, NotFoundError if the bytes
        are gone. What is read whole is compared with its digest; StorageError
        (`file_damaged`), instead of its end, if it is not what was stored.
        """
        offset, length = _range(request, stored.bytes)
        chunks = await self._blobs.get(stored.blob, offset=offset, length=length)
        return (verified(chunks, stored.sha256) if length == stored.bytes else chunks), length


async def verified(chunks: AsyncIterator[bytes], digest: str) -> AsyncIterator[bytes]:
    """Yield `chunks`, the last of them only if all have the SHA-256 `digest`."""
    seen, held = sha256(), b""
    async for chunk in chunks:
        seen.update(chunk)
        if held:
            yield held
        held = chunk
    if seen.hexdigest() != digest:
        raise file_damaged()
    if held:
        yield held


def _range(request: RangeRequest, size: int) -> tuple[int, int]:
    """Return the offset and the length of what is asked for of `size` bytes."""
    offset = check_integer(request.offset, "offset", minimum=0, maximum=size)
    if not request.HasField("length"):
        return offset, size - offset
    return offset, min(size - offset, check_integer(request.length, "length", minimum=0, maximum=MAX_LENGTH))


class _Tally:
    """Passes chunks on, counting and digesting them, and stops at `maximum` bytes."""

    def __init__(self, chunks: AsyncIterator[bytes], *, maximum: int) -> None:
        self._chunks = chunks
        self._maximum = maximum
        self._digest = sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what has passed, 64 hexadecimal digits."""
        return self._digest.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self.bytes += len(chunk)
            if self.bytes > self._maximum:
                message = f"The file is too large: at most {self._maximum} bytes are allowed."
                raise InvalidRequestError(message, param="file", code="file_too_large")
            self._digest.update(chunk)
            yield chunk
