"""FileBlobs: the BlobStore in a folder, with one file per blob; threads do the disk I/O."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar
from urllib.parse import unquote, urlsplit

from berth.adapters.blobs.errors import closed_error, open_error, translated
from berth.adapters.blobs.folder_files import BlobFolder, IncomingBlob
from berth.core.background import from_thread
from berth.core.errors import NotFoundError, StorageError, file_damaged

P = ParamSpec("P")
T = TypeVar("T")

# Each batch costs a switch to a thread and back, so small batches are slow; an upload has two of them in memory.
_BATCH_BYTES = 512 * 1024
_CHUNK_BYTES = 512 * 1024
_THREADS = 32


class FileBlobs:
    """A BlobStore in a folder. A key is the name of a subfolder, "/", and a name; each key is put once."""

    def __init__(self, folder: BlobFolder) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the folder of a `file:///…` URL; create it if it does not exist. StorageError if it cannot be used."""
        try:
            return cls(BlobFolder.made(folder_of(url)))
        except OSError as error:
            raise open_error(url, f"{error.strerror}.") from error

    @classmethod
    def open_existing(cls, url: str) -> Self:
        """Open the folder of a `file:///…` URL that a FileBlobs has made. StorageError if it cannot be used."""
        try:
            return cls(BlobFolder.existing(folder_of(url)))
        except FileNotFoundError as error:
            raise open_error(url, "it is not a folder with blobs.") from error
        except OSError as error:
            raise open_error(url, f"{error.strerror}.") from error

    @classmethod
    def open_copy(cls, url: str) -> Self:
        """Open a copy of a folder that a FileBlobs has made, only for reading. StorageError if it cannot be used."""
        try:
            return cls(BlobFolder(folder_of(url)))
        except OSError as error:
            raise open_error(url, f"{error.strerror}.") from error

    @property
    def path(self) -> Path:
        """The folder, without links."""
        return self._folder.root

    def close(self) -> None:
        """Finish the pending work, and release the folder."""
        self._threads.shutdown()
        self._folder.close()

    async def check(self) -> None:
        """Return at once: a folder has no connection that could be lost."""

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob; see BlobStore."""
        incoming = self._folder.incoming(key)
        batch: list[bytes] = []
        size = 0
        written = self._submit(incoming.write, ())
        try:
            async for chunk in chunks:
                batch.append(chunk)
                size += len(chunk)
                if size >= _BATCH_BYTES:
                    await _wait_for(written)
                    written = self._submit(incoming.write, batch)  # while the next batch arrives
                    batch, size = [], 0
            await _wait_for(written)
            await self._run(incoming.publish, batch)
        except BaseException:
            with suppress(StorageError):  # the original error is the one to raise
                await self._run(_discard, incoming, written)
            raise

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Open a blob; see BlobStore. The first chunk is read at once, so that a missing blob is an error here."""
        end = offset + length
        return self._chunks(key, await self._read(key, start=offset, end=end), start=offset, end=end)

    async def size(self, key: str) -> int | None:
        """Return the size of a blob; see BlobStore."""
        return await self._run(self._folder.size, key)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; see BlobStore."""
        await self._run(self._folder.remove, list(keys))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all complete blobs while the context lasts, even if they are deleted: a sweep removes them later.

        StorageError if another process does the same.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(self._folder.held())
            except BlockingIOError as error:
                raise StorageError("Another backup of this blob store is running.") from error
            except OSError as error:
                raise StorageError("The blob store cannot be written to.") from error
            yield

    async def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of old blobs and of old incomplete uploads, one subfolder at a time; see BlobStore."""
        until = time.time() - seconds
        for name in await self._run(self._folder.names):
            yield await self._run(self._folder.old_keys, name, until)

    async def _chunks(self, key: str, chunk: bytes, *, start: int, end: int) -> AsyncIterator[bytes]:
        while chunk:
            start += len(chunk)
            yield chunk
            chunk = await self._read(key, start=start, end=end) if start < end else b""

    async def _read(self, key: str, *, start: int, end: int) -> bytes:
        size = min(_CHUNK_BYTES, end - start)
        chunk = await self._run(self._folder.read, key, start, size)
        if chunk is None:
            raise NotFoundError("The file is gone: it was deleted meanwhile.")
        if len(chunk) < size:
            raise file_damaged()
        return chunk

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _wait_for(self._submit(work, *args, **kwargs))

    def _submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        try:
            return self._threads.submit(work, *args, **kwargs)
        except RuntimeError as error:
            raise closed_error() from error


async def _wait_for(work: Future[T]) -> T:
    with translated():
        return await from_thread(asyncio.wrap_future(work))


def _discard(incoming: IncomingBlob, written: "Future[None]") -> None:
    wait([written])
    incoming.discard()


def folder_of(url: str) -> Path:
    """Return the folder of a `file:///…` URL; StorageError if it is none."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        # The message has nothing else of the URL: it may contain a password.
        raise open_error(f"{parts.scheme}://…", "only file:// is supported.")
    if parts.netloc or not parts.path.startswith("/"):
        raise open_error(url, "a file URL has three slashes and an absolute path.")
    return Path(unquote(parts.path))
