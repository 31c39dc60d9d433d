"""How bytes get into the BlobStore, and out of it again as what they were.

Bytes are stored before anything refers to them. If their content is there
already, or nothing comes to refer to them, they go again. Damage that is
noticed on the way out is noted, so that the next upload of the content mends it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Protocol

from berth.core.background import Completion
from berth.core.errors import DAMAGED, InvalidRequestError, NotFoundError, StorageError, file_damaged
from berth.core.ports.stores import BlobStore, HeldBytes, StoredBytes
from berth.core.validation import check_integer

BLOB_DIGITS = 40
MAX_LENGTH = 2**63 - 1


class RangeRequest(Protocol):
    """A request for a range of a file."""

    offset: int
    length: int

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Tell whether an optional field was given."""


class Stowage:
    """Stores bytes whole, with their digest, or not at all; at most `max_bytes` at a time.

    `tell_damage` is called with the key of a blob when it is found damaged, once.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        max_bytes: int,
        new_id: Callable[[str, int], str],
        completion: Completion,
        tell_damage: Callable[[str], None],
    ) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._new_id = new_id
        self._completion = completion
        self._tell_damage = tell_damage

    async def put(self, chunks: AsyncIterator[bytes]) -> StoredBytes:
        """Store what `chunks` yields. InvalidRequestError (`file_too_large`) for too much."""
        name = self._new_id("", BLOB_DIGITS)
        blob = f"{name[:2]}/{name}"  # spread over folders
        tally = _Tally(chunks, maximum=self._max_bytes)
        await self._blobs.put(blob, aiter(tally))
        return StoredBytes(blob, tally.sha256, tally.bytes)

    async def keep(self, stored: StoredBytes, add: Callable[[], Awaitable[str]], *, rows: HeldBytes) -> None:
        """Have `add` make a row, of `rows`, for what was stored and name the blob that it refers to.

        It is seen through, and the bytes go if it fails or needs them not.
        """
        await self._completion.of(self._keep(stored, add, rows))

    async def _keep(self, stored: StoredBytes, add: Callable[[], Awaitable[str]], rows: HeldBytes) -> None:
        held = None
        try:
            await self._look_at_same(stored, rows)
            held = await add()
        finally:
            if held != stored.blob:
                await self._blobs.delete([stored.blob])

    async def _look_at_same(self, stored: StoredBytes, rows: HeldBytes) -> None:
        """Note it if what has the content already is missing or too short: then these bytes are needed."""
        same = await rows.find_blob(stored.sha256, stored.bytes)
        if same is not None:
            length = min(stored.bytes, 1)
            with suppress(NotFoundError, StorageError):  # whoever reads it is told
                async with self._noting_damage(same, rows):
                    await self._blobs.get(same, offset=stored.bytes - length, length=length)

    async def read(
        self, stored: StoredBytes, request: RangeRequest, *, rows: HeldBytes
    ) -> tuple[AsyncIterator[bytes], int]:
        """Open what `request` asks for of stored bytes, which `rows` know; return it and its length.

        InvalidRequestError for a range that cannot be, NotFoundError if the bytes
        are gone with their file. What is read whole is compared with its digest;
        StorageError (`file_damaged`), instead of its end, if it is not what was
        stored, or too short, or missing.
        """
        offset, length = _range(request, stored.bytes)
        async with self._noting_damage(stored.blob, rows):
            chunks = await self._blobs.get(stored.blob, offset=offset, length=length)
        whole = length == stored.bytes
        return self._read(verified(chunks, stored.sha256) if whole else chunks, stored.blob, rows), length

    async def _read(self, chunks: AsyncIterator[bytes], blob: str, rows: HeldBytes) -> AsyncIterator[bytes]:
        async with self._noting_damage(blob, rows):
            async for chunk in chunks:
                yield chunk

    @asynccontextmanager
    async def _noting_damage(self, blob: str, rows: HeldBytes) -> AsyncIterator[None]:
        """Note what is found damaged. Missing is damaged, too, as long as a file has it: its row goes first."""
        try:
            yield
        except (NotFoundError, StorageError) as error:
            if isinstance(error, StorageError) and error.code != DAMAGED:
                raise
            times = await self._completion.of(rows.note_damage(blob))
            if times == 1:
                self._tell_damage(blob)
            if not times:
                raise
            raise file_damaged() from error


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
