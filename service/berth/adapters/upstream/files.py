"""PassthroughFiles: files, in no container, that a provider keeps, and Berth knows the owner of.

Like PassthroughBackend, whose keys and connections it shares: making a file
writes whose it is and which key made it, and later calls go to that key.
"""

from contextlib import suppress
from typing import TypeVar

from berth.adapters.upstream import file_orders
from berth.adapters.upstream.account import DIRECT, Trip, UpstreamAccount
from berth.adapters.upstream.answers import tenant_file_of
from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.extra import dressed
from berth.adapters.upstream.http.download import Span, content_of
from berth.adapters.upstream.http.session import Order
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.background import Completion
from berth.core.caller import Caller
from berth.core.errors import BerthError, NotFoundError
from berth.core.ports.backend import Content
from berth.core.ports.file_backend import FileUpload
from berth.core.ports.file_store import FileStore, StoredFile
from berth.core.ports.stores import ID_TAKEN, UNLIMITED
from berth.core.providers import provider_name
from berth.core.routing.file_ownership import FileCatalogue
from berth.core.routing.router import not_configured
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import (
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)

Answer = TypeVar("Answer", File, DeleteFileResponse)


class PassthroughFiles:
    """A FileBackend before the files API of the provider of `account`."""

    def __init__(self, account: UpstreamAccount, *, store: FileStore) -> None:
        self._account = account
        self._provider = account.provider
        self._name = provider_name(account.provider)
        self._store = store
        self._catalogue = FileCatalogue(store)
        self._completion = Completion()

    async def create_file(self, caller: Caller, upload: FileUpload) -> File:
        """Send a file on while it arrives; see FileBackend. It can be read once, so one key is tried."""
        order = file_orders.new_file(caller, upload, forwards_unknown=self._account.forwards_unknown)
        trip = self._trip(caller)
        value = self._account.read(await self._account.send(order, trip), order, trip)
        file = tenant_file_of(value, provider=self._name)
        record = StoredFile(file, caller.tenant, self._provider, key=trip.key.name, attempt=caller.options.attempt)
        await self._completion.of(self._add(record, caller, trip.key))
        return self._dressed(file, trip, caller=caller, order=order, value=value)

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of the files that were made here; see FileBackend. Whose a file is, no provider knows."""
        if caller.direct_key is None and not len(self._account.ring):
            raise not_configured(self._provider)
        return await self._catalogue.files(caller, request)

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file as the provider sees it; see FileBackend."""
        trip = await self._located(caller, request)
        order = file_orders.file("GET", caller, request.file_id)
        value = self._account.read(await self._account.send(order, trip), order, trip)
        file = tenant_file_of(value, provider=self._name)
        if file.id != request.file_id:
            raise unreadable(self._name, "with another file")
        return self._dressed(file, trip, caller=caller, order=order, value=value)

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open a file, from its first byte that is wanted; see FileBackend."""
        span = Span.of(request)
        trip = await self._located(caller, request)
        reply, done = await self._account.open_stream(file_orders.content(caller, request.file_id, span), trip)
        return await content_of(reply, span, provider=self._provider, done=done)

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file there, and then its row; see FileBackend."""
        trip = await self._located(caller, request)
        order = file_orders.file("DELETE", caller, request.file_id)
        try:
            reply = await self._account.send(order, trip)
        except NotFoundError:
            await self._forget(caller, request.file_id)
            if trip.attempts == 1:
                raise
            value = None  # an earlier attempt did it
        else:
            value = self._account.read(reply, order, trip) if reply.body else None
            if isinstance(value, dict) and value.get("deleted") is False:
                raise unreadable(self._name, "that it deletes nothing")
            await self._forget(caller, request.file_id)
        response = DeleteFileResponse(id=request.file_id, object="file", deleted=True)
        return self._dressed(response, trip, caller=caller, order=order, value=value)

    def _trip(self, caller: Caller) -> Trip:
        if caller.direct_key is not None:
            return Trip(UpstreamKey(DIRECT, caller.direct_key))
        if not len(self._account.ring):
            raise not_configured(self._provider)
        return Trip(self._account.ring.choose())

    async def _located(
        self, caller: Caller, request: RetrieveFileRequest | RetrieveFileContentRequest | DeleteFileRequest
    ) -> Trip:
        """Return the trip to the caller's file, with the key that made it."""
        record = await self._catalogue.file(caller, request.file_id, provider=request.provider)
        if record.key == DIRECT and caller.direct_key is not None:
            return Trip(UpstreamKey(DIRECT, caller.direct_key))
        return Trip(self._account.ring.named(record.key))

    async def _add(self, record: StoredFile, caller: Caller, key: UpstreamKey) -> None:
        """Write whose the file is; where that fails nobody could ever reach it, and it is deleted again."""
        try:
            await self._store.add(record, quotas=UNLIMITED)
        except BerthError as error:
            if error.code != ID_TAKEN:  # that one is somebody's
                with suppress(BerthError):
                    await self._account.send(file_orders.file("DELETE", caller, record.file.id), Trip(key))
            raise

    async def _forget(self, caller: Caller, file_id: str) -> None:
        with suppress(NotFoundError):
            await self._completion.of(self._delete(caller.tenant, file_id))

    async def _delete(self, tenant: str, file_id: str) -> None:
        await self._store.delete(tenant, file_id)

    def _dressed(self, answer: Answer, trip: Trip, *, caller: Caller, order: Order, value: object) -> Answer:
        secrets = self._account.secrets(order, trip.key)
        return dressed(
            answer,
            trip,
            provider=self._provider,
            order=order,
            value=value,
            options=caller.options,
            secrets=secrets,
        )
