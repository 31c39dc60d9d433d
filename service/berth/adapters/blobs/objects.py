"""ObjectBlobs: the BlobStore in a bucket of S3, Google Cloud Storage or Azure, with one object per blob.

A key is the object's name below the prefix. Objects with names that begin with a dot are not blobs.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Self

import obstore
from obstore.store import ObjectStore, S3Store

from berth.adapters.blobs.errors import open_error
from berth.adapters.blobs.object_errors import FAILURES, failed, reason, translated
from berth.adapters.blobs.object_hold import ObjectHold
from berth.adapters.blobs.object_settings import ObjectSettings, store_of
from berth.adapters.blobs.object_upload import ObjectUpload
from berth.core.errors import NotFoundError, file_damaged

MARKER = ".berth"
"""The name of an object that says that Berth uses the bucket and prefix, and how late it is for the store."""
UPLOAD_MARGIN_SECONDS = 24 * 3600
"""How much older than its completion an object may look: S3 counts from the beginning of an upload in parts."""
_CHUNK_BYTES = 512 * 1024
_BEYOND_END = "416 Range Not Satisfiable"
_LIST_SIZE = 1000
_DELETES_AT_ONCE = 10
_CHECK_PREFIX = f"{MARKER}-none"
_CHECK_SECONDS = 10.0


class ObjectBlobs:
    """A BlobStore in a bucket; see `ObjectSettings` for how it is reached."""

    def __init__(self, store: ObjectStore, *, margin_seconds: int = UPLOAD_MARGIN_SECONDS) -> None:
        self._store = store
        self._hold = ObjectHold(store)
        self._margin_seconds = margin_seconds
        self._checked_at = float("-inf")

    @classmethod
    def open(cls, settings: ObjectSettings) -> Self:
        """Use a bucket and prefix, and mark them. StorageError if objects cannot be stored there."""
        blobs = cls(store_of(settings))
        try:
            obstore.put(blobs._store, MARKER, b"", use_multipart=False)
        except FileNotFoundError as error:
            raise open_error(settings.url, "the bucket does not exist.") from error
        except FAILURES as error:
            raise open_error(settings.url, str(reason(error))) from error
        return blobs

    @classmethod
    def open_existing(cls, settings: ObjectSettings) -> Self:
        """Use a bucket and prefix that have been marked. StorageError if they were not, or cannot be used.

        Nothing must be concluded from what is missing under a wrong prefix.
        """
        blobs = cls(store_of(settings))
        try:
            obstore.head(blobs._store, MARKER)
        except FileNotFoundError as error:
            raise open_error(settings.url, "there is no bucket, or no Berth has used it with this prefix.") from error
        except FAILURES as error:
            raise open_error(settings.url, str(reason(error))) from error
        return blobs

    def close(self) -> None:
        """Release nothing: connections end with the process. It is here because other stores need it."""

    async def check(self) -> None:
        """Return if the bucket can be listed; an answer is good for some seconds. StorageError if it cannot."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at < _CHECK_SECONDS:
            return
        self._checked_at = float("-inf")
        with self._translated():
            async for _ in obstore.list(self._store, _CHECK_PREFIX):
                pass
        self._checked_at = now

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob; see BlobStore. SlowRequestError if it takes SLOWEST_UPLOAD_SECONDS."""
        upload = ObjectUpload(self._store, key)
        try:
            async for chunk in chunks:
                await upload.write(chunk)
            await upload.finish()
        except BaseException:
            await upload.discard()
            raise

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Open a blob; see BlobStore. The store has answered when this returns."""
        if not length:
            await self._check_length(key, offset)
            return _nothing()
        try:
            answer = await obstore.get_async(self._store, key, options={"range": (offset, offset + length)})
        except FileNotFoundError:
            await self._check_marked()
            raise _gone() from None
        except FAILURES as error:
            if _BEYOND_END in str(error):
                await self._check_length(key, offset + 1)
            raise failed(error) from reason(error)
        return _chunks(aiter(answer.stream(min_chunk_size=_CHUNK_BYTES)), length)

    async def size(self, key: str) -> int | None:
        """Return the size of a blob; see BlobStore."""
        try:
            with translated():
                return (await obstore.head_async(self._store, key))["size"]
        except NotFoundError:
            await self._check_marked()
            return None

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs, unless they are held; see BlobStore."""
        wanted = list(dict.fromkeys(keys))
        if wanted and not await self._hold.is_taken():
            with self._translated():
                await self._delete(wanted)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all blobs while the context lasts, even if they are deleted: a sweep removes them later.

        StorageError if another process does the same.
        """
        with self._hold.taken():
            yield

    async def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of old blobs; see BlobStore. Parts of uploads are not listed: the bucket's rules remove them.

        The store's clock says how old an object is, and one is old only UPLOAD_MARGIN_SECONDS later than it seems.
        """
        until = await self._now() - timedelta(seconds=seconds + self._margin_seconds) if seconds else None
        pages = aiter(obstore.list(self._store, chunk_size=_LIST_SIZE))
        while True:
            with self._translated():
                page = await anext(pages, None)
            if page is None:
                return
            yield [
                str(object_["path"])
                for object_ in page
                if not object_["path"].startswith(".") and (until is None or object_["last_modified"] <= until)
            ]

    async def _now(self) -> datetime:
        """Return the time of the store's own clock, with which it dates objects."""
        with self._translated():
            await obstore.put_async(self._store, MARKER, b"", use_multipart=False)
            return (await obstore.head_async(self._store, MARKER))["last_modified"]

    async def _check_marked(self) -> None:
        """Raise StorageError if the bucket or everything below the prefix is gone: then no single blob is missing."""
        with self._translated():
            await obstore.head_async(self._store, MARKER)

    async def _check_length(self, key: str, length: int) -> None:
        """Raise NotFoundError if there is no such blob, and StorageError (`file_damaged`) if it is shorter."""
        size = await self.size(key)
        if size is None:
            raise _gone()
        if size < length:
            raise file_damaged()

    async def _delete(self, keys: Sequence[str]) -> None:
        """Delete objects: S3 does not mind that some do not exist, so many in one request."""
        if isinstance(self._store, S3Store):
            await obstore.delete_async(self._store, keys)
            return
        for start in range(0, len(keys), _DELETES_AT_ONCE):
            await asyncio.gather(*map(self._delete_one, keys[start : start + _DELETES_AT_ONCE]))

    async def _delete_one(self, key: str) -> None:
        with suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise StorageError for any error, also for a bucket that does not exist."""
        try:
            yield
        except FAILURES as error:
            raise failed(error) from reason(error)


async def _chunks(stream: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
    while length > 0:
        with translated():
            chunk = await anext(stream, b"")
        if not chunk:
            raise file_damaged()
        length -= len(chunk)
        yield bytes(chunk)


async def _nothing() -> AsyncIterator[bytes]:
    for _ in range(0):
        yield b""


def _gone() -> NotFoundError:
    return NotFoundError("The file is gone: it was deleted meanwhile.")
