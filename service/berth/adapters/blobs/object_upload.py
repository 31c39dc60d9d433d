"""ObjectUpload: an object that is being stored, in one request if it is small and else in parts.

A request to store an object must not be cancelled: of a multipart upload the parts would stay, and a small object might
appear later. So the requests run in a task of their own, which an upload that fails ends with an error: then
obstore removes the parts.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress

import obstore
from obstore.store import ObjectStore

from berth.adapters.blobs.object_errors import FAILURES, failed, reason
from berth.core.errors import SlowRequestError

PART_BYTES = 5 * 1024 * 1024
"""The smallest part that S3 accepts, because each upload has two of them in memory; 10 000 parts are 48 GiB."""
SLOWEST_UPLOAD_SECONDS = 20 * 3600
"""How long an upload may take: S3 dates an object with the beginning of its upload, and a sweep goes by that."""
_BATCH_BYTES = 512 * 1024
_END, _ABANDONED = b"", None


class _AbandonedError(Exception):
    """The upload has failed, and its parts are to be removed."""


class ObjectUpload:
    """Call `write` for each chunk, then `finish`; after any error, including cancellation, `discard`."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        self._store = store
        self._key = key
        self._batch: list[bytes] = []
        self._size = 0
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._task: asyncio.Task[object] | None = None
        self._latest = asyncio.get_running_loop().time() + SLOWEST_UPLOAD_SECONDS

    async def write(self, chunk: bytes) -> None:
        """Add bytes; this waits while the store is slower than they arrive.

        StorageError if the store failed, and SlowRequestError if this has gone on for too long.
        """
        if asyncio.get_running_loop().time() > self._latest:
            raise SlowRequestError("The upload takes too long.")
        self._batch.append(chunk)
        self._size += len(chunk)
        if self._size > (PART_BYTES if self._task is None else _BATCH_BYTES):
            await self._flush()

    async def finish(self) -> None:
        """Store the object. StorageError if the store failed."""
        if self._task is None:
            self._start(b"".join(self._batch))
            self._batch.clear()
        else:
            await self._flush()
            await self._hand_over(_END)
        await self._ended()

    async def discard(self) -> None:
        """End the requests, and delete the object if it exists. This waits for their end even if cancelled."""
        if self._task is None:
            return
        self._drain()
        self._queue.put_nowait(_ABANDONED)
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if self._task.exception() is None:  # else there is none, or the store does not answer
            with suppress(*FAILURES):  # a sweep removes it later
                await obstore.delete_async(self._store, self._key)
        if cancelled is not None:
            raise cancelled

    async def _flush(self) -> None:
        """Hand over what has arrived, in small pieces: joining a whole part would copy it."""
        if self._task is None:
            self._start(self._source())
        pieces, self._batch, self._size = deque(filter(None, self._batch)), [], 0
        while pieces:
            await self._hand_over(pieces.popleft())

    def _start(self, source: bytes | AsyncIterator[bytes]) -> None:
        self._task = asyncio.create_task(self._put(source))
        self._task.add_done_callback(lambda _: self._drain())  # nothing waits for a task that has ended

    async def _put(self, source: bytes | AsyncIterator[bytes]) -> None:
        is_small = isinstance(source, bytes)
        await obstore.put_async(
            self._store, self._key, source, use_multipart=not is_small, chunk_size=PART_BYTES, max_concurrency=1
        )  # with more at once, parts stay when an upload fails

    async def _source(self) -> AsyncIterator[bytes]:
        while batch := await self._queue.get():
            yield batch
        if batch is _ABANDONED:
            raise _AbandonedError

    async def _hand_over(self, batch: bytes) -> None:
        if self._task is not None and not self._task.done():
            await self._queue.put(batch)
        if self._task is not None and self._task.done():
            await self._ended()

    async def _ended(self) -> None:
        """Wait for the end of the requests without cancelling them."""
        assert self._task is not None  # noqa: S101 - for the type checker
        await asyncio.wait([self._task])
        try:
            self._task.result()
        except FAILURES as error:  # also FileNotFoundError: the bucket does not exist
            raise failed(error) from reason(error)

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
