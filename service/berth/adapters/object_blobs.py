"""ObjectBlobs: the BlobStore on obstore, in a folder.

Bytes stream through in parts of a size chosen by measuring. What is special
about files is the business of `blob_folder`.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from berth.adapters.blob_errors import found, open_error, translated
from berth.adapters.blob_folder import BlobFolder
from berth.core.errors import file_damaged

if TYPE_CHECKING:  # it exists for the type checker only
    from obstore import AsyncWritableFile

# Each part costs a hop to another thread and back, so very small ones are slow;
# an upload holds two of them, and many uploads run at a time.
_PART_BYTES = 256 * 1024
_PARTS_IN_FLIGHT = 1
_CHUNK_BYTES = 512 * 1024


class ObjectBlobs:
    """A BlobStore in a folder. Keys are a folder's name, "/", and a name; each is put once."""

    def __init__(self, folder: BlobFolder) -> None:
        self._folder = folder
        # Its folders stay when they are empty: removing one could meet a blob that is on its way into it.
        self._store = LocalStore(folder.root)

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the folder of a `file:///…` URL, made if it is not there. StorageError if it cannot be used."""
        try:
            return cls(BlobFolder(_path_of(url)))
        except OSError as error:
            raise open_error(url, f"{error.strerror}.") from error

    def close(self) -> None:
        """Let the folder go."""
        self._folder.close()

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob; see BlobStore."""
        staging_key = self._folder.staging_key(key)
        writer = obstore.open_writer_async(
            self._store, staging_key, buffer_size=_PART_BYTES, max_concurrency=_PARTS_IN_FLIGHT
        )
        try:
            await _copy(chunks, writer)
        except BaseException as error:
            await _abort(writer, error)
            raise
        await self._to_the_end(self._publish(writer, staging_key, key=key), key)

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Open a blob; see BlobStore. Reading the first chunk at once shows whether there is one."""
        end = offset + length
        with found():
            if not length:
                await obstore.head_async(self._store, key)
        first = await self._read(key, start=offset, end=end) if length else b""
        return self._chunks(key, first, start=offset + len(first), end=end)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; see BlobStore."""
        batch = list(keys)
        with translated():
            try:
                await obstore.delete_async(self._store, batch)
            except FileNotFoundError:  # it ends the batch, so: the others one by one
                for key in batch:
                    with suppress(FileNotFoundError):
                        await obstore.delete_async(self._store, key)

    async def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of old blobs; see BlobStore."""
        until = datetime.now(UTC) - timedelta(seconds=seconds)
        batches = aiter(obstore.list(self._store))
        while True:
            with translated():
                batch = await anext(batches, None)
            if batch is None:
                return
            old = [blob["path"] for blob in batch if blob["last_modified"] <= until]
            yield [key for key in old if not self._folder.is_staging(key)]

    async def _publish(self, writer: "AsyncWritableFile", staging_key: str, *, key: str) -> None:
        with translated():
            await writer.close()
            await asyncio.to_thread(self._folder.publish, staging_key, key)

    async def _to_the_end(self, publishing: Coroutine[None, None, None], key: str) -> None:
        """Await `publishing`. It cannot be stopped half-way, so a cancelled caller waits and the blob is removed."""
        task = asyncio.ensure_future(publishing)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            await self.delete([key])
            raise

    async def _chunks(self, key: str, first: bytes, *, start: int, end: int) -> AsyncIterator[bytes]:
        if first:
            yield first
        while start < end:
            chunk = await self._read(key, start=start, end=end)
            start += len(chunk)
            yield chunk

    async def _read(self, key: str, *, start: int, end: int) -> bytes:
        """Read a chunk. Ranges are several times as fast as obstore's stream, which reads 8 KiB at a time."""
        size = min(_CHUNK_BYTES, end - start)
        with found():
            try:
                return bytes(await obstore.get_range_async(self._store, key, start=start, length=size))
            except BaseError:
                if (await obstore.head_async(self._store, key))["size"] < end:
                    raise file_damaged() from None
                raise


async def _copy(chunks: AsyncIterator[bytes], writer: "AsyncWritableFile") -> None:
    """Write `chunks` in parts; errors out of `chunks` pass through."""
    part = bytearray()
    async for chunk in chunks:
        part += chunk
        if len(part) >= _PART_BYTES:
            await _write(part, writer)
            part = bytearray()  # the old one is still being written
    await _write(part, writer)


async def _write(part: bytearray, writer: "AsyncWritableFile") -> None:
    with translated():
        await writer.write(part)


async def _abort(writer: "AsyncWritableFile", error: BaseException) -> None:
    """Remove what was written so far; obstore does so when its `async with` ends in an error."""
    with suppress(OSError, BaseError):  # the error that led here is the one to tell
        await writer.__aexit__(type(error), error, None)


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme != "file":
        # Nothing else of the URL is said: it may hold a password.
        raise open_error(f"{parts.scheme}://…", "only file:// is supported.")
    if parts.netloc or not parts.path.startswith("/"):
        raise open_error(url, "a file URL has three slashes and an absolute path.")
    return Path(unquote(parts.path))
