"""ObjectHold: lets all processes that use a bucket keep its blobs for as long as one of them wants it.

The one that wants it keeps renewing an object. It ends that by deleting the object, or if it is killed, by not
renewing it for LEASE_SECONDS. Clocks of machines may differ by much less than that.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from berth.adapters.blobs.object_errors import FAILURES, failed, reason
from berth.core.errors import StorageError

HOLD = ".berth-hold"
LEASE_SECONDS = 600.0
_RENEWAL_SECONDS = 60.0


class ObjectHold:
    """The hold of a bucket and prefix."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def is_taken(self) -> bool:
        """Return whether a process keeps the blobs. StorageError if the store fails."""
        try:
            found = await obstore.head_async(self._store, HOLD)
        except FileNotFoundError:
            return False
        except FAILURES as error:
            raise failed(error) from reason(error)
        return _is_recent(found["last_modified"])

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Keep the blobs while the context lasts; it needs a running event loop. StorageError if another process does.

        The object exists before this begins, so every process that deletes a row after that finds it.
        """
        try:
            self._take()
        except FAILURES as error:
            raise failed(error) from reason(error)
        renewing = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(*FAILURES):  # it ends by itself
                obstore.delete(self._store, HOLD)

    def _take(self) -> None:
        try:
            obstore.put(self._store, HOLD, b"", mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            if _is_recent(obstore.head(self._store, HOLD)["last_modified"]):
                raise StorageError("Another backup of this blob store is running.") from error
            obstore.put(self._store, HOLD, b"", use_multipart=False)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_SECONDS)
            with suppress(*FAILURES):  # the lease lasts for several attempts
                await obstore.put_async(self._store, HOLD, b"", use_multipart=False)


def _is_recent(renewed_at: datetime) -> bool:
    return (datetime.now(UTC) - renewed_at).total_seconds() < LEASE_SECONDS
