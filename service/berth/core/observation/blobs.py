"""ObservedBlobs: measures how long a BlobStore takes, and traces what it is asked."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from berth.core.observation.spans import Kind, Tracer, is_failure
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.metrics import Metrics

PUT, GET, DELETE = "put", "get", "delete"


class ObservedBlobs:
    """Implements BlobStore on `blobs`. `store` says where they are, such as file or s3.

    A put is measured without the time in which it waits for its chunks, a get until its first byte can be read: both
    depend on the caller otherwise.
    """

    def __init__(self, blobs: BlobStore, metrics: Metrics, tracer: Tracer, *, store: str) -> None:
        self._blobs = blobs
        self._metrics = metrics
        self._tracer = tracer
        self._store = store
        self._kind = Kind.INTERNAL if store == "file" else Kind.CLIENT

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store what `chunks` yields; see BlobStore."""
        patient = _Patient(chunks)
        with self._measured(PUT, patient):
            await self._blobs.put(key, patient)

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Return an iterator over a part of a blob; see BlobStore."""
        with self._measured(GET):
            return await self._blobs.get(key, offset=offset, length=length)

    async def size(self, key: str) -> int | None:
        """Return the number of bytes of a blob; see BlobStore."""
        return await self._blobs.size(key)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; see BlobStore."""
        if not (named := list(keys)):
            return
        with self._measured(DELETE):
            await self._blobs.delete(named)

    def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield the keys of old blobs; see BlobStore."""
        return self._blobs.older_than(seconds)

    @contextmanager
    def _measured(self, operation: str, waiting: "_Patient | None" = None) -> Iterator[None]:
        started, failure = perf_counter(), None
        try:
            with self._tracer.part(f"content {operation}", {"berth.content.store": self._store}, kind=self._kind):
                yield
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds = perf_counter() - started - (waiting.seconds if waiting else 0.0)
            self._metrics.content_ended(operation, failed=is_failure(failure), seconds=seconds)


class _Patient:
    """Yields chunks, and sums up how long it waited for them."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self.seconds = 0.0

    def __aiter__(self) -> "_Patient":
        return self

    async def __anext__(self) -> bytes:
        started = perf_counter()
        try:
            return await anext(self._chunks)
        finally:
            self.seconds += perf_counter() - started
