"""Stores file content and verifies its checksum on read.

A blob is stored before a row refers to it. It is deleted again if adding the row fails or another
blob with the same content is reused. Damage found on read is recorded: the content cannot be read
any more, until the next upload of the same content repairs it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from typing import Any, Protocol

from berth.core.background import BackgroundTasks
from berth.core.errors import DAMAGED, InvalidRequestError, NotFoundError, StorageError, file_damaged
from berth.core.hosted.blocks import BlockRange, BlockSums, count_matches, verified
from berth.core.ports.backend import BeforeCommit, Content
from berth.core.ports.blob_store import BlobReferences, BlobState, BlobStore, StoredContent
from berth.core.validation import check_integer
from berth.v1.provider_pb2 import Provider

BLOB_DIGITS = 40
MAX_LENGTH = 2**63 - 1


class RangeRequest(Protocol):
    """A request for a range of a file."""

    offset: int
    length: int

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Return whether an optional field was set."""


class ContentStore:
    """Stores the content of a file with its digest: all of it or nothing, at most `max_bytes` per file.

    `report_damage` is called with the key of a blob: once when the blob is found damaged, and each time it is missing;
    `report_left` with the error because of which blobs without a row are left to a later sweep.
    """

    def __init__(
        self,
        blobs: BlobStore,
        *,
        max_bytes: int,
        new_id: Callable[[str, int], str],
        background: BackgroundTasks,
        report_damage: Callable[[str], None],
        report_left: Callable[[StorageError], None],
    ) -> None:
        self._blobs = blobs
        self._max_bytes = max_bytes
        self._new_id = new_id
        self._background = background
        self._report_damage = report_damage
        self._report_left = report_left

    def check(self, size: int) -> None:
        """Raise InvalidRequestError (`file_too_large`) if content of a size cannot be put."""
        check_size(size, self._max_bytes)

    async def put(self, chunks: AsyncIterator[bytes], *, before_commit: BeforeCommit) -> StoredContent:
        """Store what `chunks` yields, and await `before_commit` when all of it has arrived.

        InvalidRequestError (`file_too_large`) for too many bytes.
        """
        name = self._new_id("", BLOB_DIGITS)
        blob = f"{name[:2]}/{name}"  # spread over folders
        tally = _Tally(chunks, maximum=self._max_bytes, at_end=before_commit)
        await self._blobs.put(blob, aiter(tally))
        return StoredContent(blob, tally.sha256, tally.bytes, tally.block_sums)

    async def commit(self, stored: StoredContent, add: Callable[[], Awaitable[str]], *, rows: BlobReferences) -> None:
        """Add the row for stored content: `add` writes it to `rows` and returns the blob that it refers to.

        This is completed even if the caller is cancelled. Deletes the stored blob if `add` fails or
        reuses another one.
        """
        await self._background.finish(self._commit(stored, add, rows))

    async def _commit(self, stored: StoredContent, add: Callable[[], Awaitable[str]], rows: BlobReferences) -> None:
        referenced = None
        try:
            await self._check_same(stored, rows)
            referenced = await add()
        finally:
            if referenced != stored.blob:
                await self.delete([stored.blob])

    async def release(self, deletion: Coroutine[Any, Any, Sequence[str]]) -> None:
        """Await `deletion`, which deletes rows and returns the unreferenced blobs, and delete these blobs.

        This is completed even if the caller is cancelled.
        """
        await self._background.finish(self._release(deletion))

    async def delete(self, blobs: Sequence[str]) -> None:
        """Delete blobs that no row refers to any more.

        A failure is reported and no error: the rows are written or deleted, and a later sweep deletes the blobs.
        """
        if not blobs:
            return
        try:
            await self._blobs.delete(blobs)
        except StorageError as error:
            self._report_left(error)

    async def _release(self, deletion: Coroutine[Any, Any, Sequence[str]]) -> None:
        await self.delete(await deletion)

    async def _check_same(self, stored: StoredContent, rows: BlobReferences) -> None:
        """Record damage if the existing blob with this content is missing or too short, so that it gets replaced."""
        same = await rows.find_blob(stored.sha256, stored.bytes)
        if same is not None:
            length = min(stored.bytes, 1)
            with suppress(StorageError):  # the error is reported when the file is read
                async with self._recording_damage(same, rows):
                    try:
                        await self._blobs.get(same, offset=stored.bytes - length, length=length)
                    except NotFoundError:  # the new blob is to replace it
                        await self._record_damage(same, rows)

    async def open(
        self,
        stored: StoredContent,
        request: RangeRequest,
        *,
        rows: BlobReferences,
        provider: Provider,
        filename: str,
        content_type: str,
        modified_at: int,
    ) -> Content:
        """Open the range that `request` asks for of stored content that one of `rows` refers to.

        InvalidRequestError for a range outside of the content; NotFoundError if the content was
        deleted with its file; StorageError (`file_damaged`) if damage was recorded before. Content
        is verified as it is read: StorageError (`file_damaged`) is raised instead of yielding the
        end of the whole or, of a range, any byte of a damaged block. Ranges of content that was
        stored without checksums of its blocks are not verified.
        """
        offset, length = _range(request, stored.bytes)
        blob, state = await _find_state(stored, rows)
        if state.is_damaged:
            raise file_damaged()
        async with self._recording_damage(blob, rows):
            chunks = await self._open_range(blob, stored, state.block_sums, offset=offset, length=length)
        return Content(
            provider=provider,
            filename=filename,
            content_type=content_type,
            sha256=stored.sha256,
            length=length,
            chunks=self._read(chunks, blob, rows),
            size=stored.bytes,
            etag=f'"{stored.sha256}"',
            modified_at=modified_at,
        )

    async def _open_range(
        self, blob: str, stored: StoredContent, sums: bytes | None, *, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        """Return an iterator over a range of a blob, which verifies what it yields if that is possible."""
        if length == stored.bytes:
            return verified(await self._blobs.get(blob, offset=0, length=length), stored.sha256)
        if sums is None or not count_matches(sums, stored.bytes):
            return await self._blobs.get(blob, offset=offset, length=length)
        blocks = BlockRange(offset=offset, length=length, size=stored.bytes)
        return blocks.verified(await self._blobs.get(blob, offset=blocks.offset, length=blocks.length), sums)

    async def _read(self, chunks: AsyncIterator[bytes], blob: str, rows: BlobReferences) -> AsyncIterator[bytes]:
        async with self._recording_damage(blob, rows):
            async for chunk in chunks:
                yield chunk

    @asynccontextmanager
    async def _recording_damage(self, blob: str, rows: BlobReferences) -> AsyncIterator[None]:
        """Record damage. A missing blob counts as damaged while a row refers to it, because rows are deleted first.

        That it is missing is not recorded: in a bucket that was named wrongly for a while, all of them are there again.
        """
        try:
            yield
        except NotFoundError as error:
            if await rows.blob_state(blob) is None:
                raise
            self._report_damage(blob)
            raise file_damaged() from error
        except StorageError as error:
            if error.code == DAMAGED:
                await self._record_damage(blob, rows)
            raise

    async def _record_damage(self, blob: str, rows: BlobReferences) -> None:
        """Record damage, and report it if that is the first time."""
        if await self._background.finish(rows.note_damage(blob)) == 1:
            self._report_damage(blob)


async def _find_state(stored: StoredContent, rows: BlobReferences) -> tuple[str, BlobState]:
    """Return the blob that has the content now, and its state.

    It is another blob if an upload has replaced a damaged one since `stored` was read.
    """
    blob = stored.blob
    state = await rows.blob_state(blob)
    if state is None:
        blob = await rows.find_blob(stored.sha256, stored.bytes) or blob
        state = await rows.blob_state(blob)
    return blob, state or BlobState(is_damaged=False, block_sums=None)


def _range(request: RangeRequest, size: int) -> tuple[int, int]:
    """Return the offset and the length of the requested range of `size` bytes."""
    offset = check_integer(request.offset, "offset", minimum=0, maximum=size)
    if not request.HasField("length"):
        return offset, size - offset
    return offset, min(size - offset, check_integer(request.length, "length", minimum=0, maximum=MAX_LENGTH))


def check_size(size: int, maximum: int) -> None:
    """Raise InvalidRequestError (`file_too_large`) for more bytes than the maximum."""
    if size > maximum:
        message = f"The file is too large: at most {maximum} bytes are allowed."
        raise InvalidRequestError(message, param="file", code="file_too_large")


class _Tally:
    """Yields chunks, counts and hashes them, stops at `maximum` bytes, and awaits `at_end` after the last one."""

    def __init__(self, chunks: AsyncIterator[bytes], *, maximum: int, at_end: BeforeCommit) -> None:
        self._chunks = chunks
        self._at_end = at_end
        self._maximum = maximum
        self._digest = sha256()
        self._block_sums = BlockSums()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of the chunks so far, in 64 hexadecimal digits."""
        return self._digest.hexdigest()

    @property
    def block_sums(self) -> bytes:
        """The checksums of the blocks of the chunks so far."""
        return self._block_sums.result()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self.bytes += len(chunk)
            check_size(self.bytes, self._maximum)
            self._digest.update(chunk)
            self._block_sums.update(chunk)
            yield chunk
        await self._at_end()
