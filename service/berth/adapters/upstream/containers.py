"""PassthroughBackend: containers that a provider keeps, and Berth knows the owner of.

Creating one writes whose it is and which key made it; later calls go to that
key, once. What is nobody's here is not asked for there.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from berth.adapters.upstream import orders
from berth.adapters.upstream.account import DIRECT, Trip, UpstreamAccount
from berth.adapters.upstream.answers import container_of, file_of, files_of
from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.extra import Answer, dressed
from berth.adapters.upstream.http.download import Span, content_of
from berth.adapters.upstream.http.reply import Reply
from berth.adapters.upstream.http.session import Order
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.background import Completion
from berth.core.caller import Caller
from berth.core.errors import BerthError, NotFoundError, StorageError, UnsupportedOperationError
from berth.core.ports.backend import Content, Upload
from berth.core.ports.stores import ID_TAKEN, ContainerRecord, ContainerStore
from berth.core.providers import provider_name
from berth.core.routing.container_ownership import Catalogue
from berth.core.routing.file_references import FileReferences
from berth.core.routing.router import not_configured
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    DeleteContainerFileResponse,
    ListContainerFilesRequest,
    ListContainerFilesResponse,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    DeleteContainerResponse,
    ListContainersRequest,
    ListContainersResponse,
    RetrieveContainerRequest,
)
from berth.v1.provider_pb2 import Provider

REFRESH_SECONDS = 60
"""How far `last_active_at` must have moved for the row to be written again."""


class OnContainer(Protocol):
    """A request that is about a container."""

    @property
    def container_id(self) -> str:
        """The container."""

    @property
    def provider(self) -> Provider:
        """The provider that was named, or PROVIDER_UNSPECIFIED."""


class PassthroughBackend:
    """A Backend before the containers API of the provider of `account`; `now` gives seconds since 1970."""

    def __init__(
        self,
        account: UpstreamAccount,
        *,
        store: ContainerStore,
        files: FileReferences,
        now: Callable[[], int],
        log: FilteringBoundLogger,
    ) -> None:
        self._account = account
        self._provider = account.provider
        self._name = provider_name(account.provider)
        self._store = store
        self._files = files
        self._now = now
        self._log = log
        self._catalogue = Catalogue(store, now)
        self._completion = Completion()

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container with a key that is let in; see Backend."""
        self._require("container_create")
        order = orders.new_container(caller, request, forwards_unknown=self._account.forwards_unknown)
        key = await self._files.key_of(caller, request.file_ids)
        reply, trip = await self._created(caller, order, key=key)
        value = self._account.read(reply, order, trip)
        container = container_of(value, provider=self._name)
        record = ContainerRecord(
            container, caller.tenant, self._provider, key=trip.key.name, attempt=caller.options.attempt
        )
        await self._completion.of(self._add(record, caller, trip.key))
        return self._dressed(container, trip, caller=caller, order=order, value=value)

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of the containers that were made here; see Backend.

        Whose a container is, no provider knows; so none is asked, not even one
        that could list them.
        """
        if caller.direct_key is None and not len(self._account.ring):
            raise not_configured(self._provider)
        return await self._catalogue.containers(caller, request)

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container as the provider sees it; see Backend."""
        record, trip = await self._located("container_retrieve", caller, request)
        order = orders.container("GET", caller, request.container_id)
        value = self._account.read(await self._account.send(order, trip), order, trip)
        container = container_of(value, provider=self._name)
        if container.id != request.container_id:
            raise unreadable(self._name, "with another container")
        await self._keep(record, container)
        return self._dressed(container, trip, caller=caller, order=order, value=value)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container there, and then its row; see Backend."""
        _, trip = await self._located("container_delete", caller, request)
        order = orders.container("DELETE", caller, request.container_id)
        try:
            value = await self._deleted(order, trip)
        except NotFoundError:
            await self._forget(caller, request.container_id)
            raise
        await self._forget(caller, request.container_id)
        response = DeleteContainerResponse(id=request.container_id, object="container.deleted", deleted=True)
        return self._dressed(response, trip, caller=caller, order=order, value=value)

    async def create_container_file(self, caller: Caller, upload: Upload) -> ContainerFile:
        """Send a file on while it arrives; see Backend."""
        record, trip = await self._located("container_file_create", caller, upload)
        if upload.file_id is not None:
            await self._files.key_of(caller, [upload.file_id], param="file_id")
        order = orders.new_file(caller, upload, forwards_unknown=self._account.forwards_unknown)
        value = self._account.read(await self._account.send(order, trip), order, trip)
        file = file_of(value, provider=self._name, container_id=upload.container_id)
        await self._touch(record)
        return self._dressed(file, trip, caller=caller, order=order, value=value)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of files; see Backend."""
        record, trip = await self._located("container_file_list", caller, request)
        order = orders.files(caller, request)
        value = self._account.read(await self._account.send(order, trip), order, trip)
        page = files_of(value, provider=self._name, container_id=request.container_id)
        await self._touch(record)
        return self._dressed(page, trip, caller=caller, order=order, value=value)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a file; see Backend."""
        order = orders.file("GET", caller, request)
        record, trip = await self._located("container_file_retrieve", caller, request)
        value = self._account.read(await self._account.send(order, trip), order, trip)
        file = file_of(value, provider=self._name, container_id=request.container_id)
        if file.id != request.file_id:
            raise unreadable(self._name, "with another file")
        await self._touch(record)
        return self._dressed(file, trip, caller=caller, order=order, value=value)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open a file, from its first byte that is wanted; see Backend."""
        span = Span.of(request)
        order = orders.content(caller, request, span)
        record, trip = await self._located("container_file_content", caller, request)
        reply, done = await self._account.open_stream(order, trip)
        content = await content_of(reply, span, provider=self._provider, done=done)
        try:
            await self._touch(record)
        except BaseException:
            content.close()
            raise
        return content

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a file; see Backend."""
        order = orders.file("DELETE", caller, request)
        record, trip = await self._located("container_file_delete", caller, request)
        value = await self._deleted(order, trip)
        await self._touch(record)
        response = DeleteContainerFileResponse(id=request.file_id, object="container.file.deleted", deleted=True)
        return self._dressed(response, trip, caller=caller, order=order, value=value)

    def _require(self, request_type: str) -> None:
        if request_type in self._account.lacks:
            raise UnsupportedOperationError(request_type, self._name)

    async def _located(self, request_type: str, caller: Caller, request: OnContainer) -> tuple[ContainerRecord, Trip]:
        """Return the caller's container, and the trip to it with the key that made it."""
        self._require(request_type)
        record = await self._catalogue.container(caller, request.container_id, provider=request.provider)
        if record.key == DIRECT and caller.direct_key is not None:
            return record, Trip(UpstreamKey(DIRECT, caller.direct_key))
        return record, Trip(self._account.ring.named(record.key))

    async def _created(self, caller: Caller, order: Order, *, key: str | None) -> tuple[Reply, Trip]:
        """Send a create with the key that made its files, where that is known: another one need not see them."""
        if caller.direct_key is not None:
            trip = Trip(UpstreamKey(DIRECT, caller.direct_key))
            return await self._account.send(order, trip), trip
        if not len(self._account.ring):
            raise not_configured(self._provider)
        if key is not None and key != DIRECT:
            trip = Trip(self._account.ring.named(key))
            return await self._account.send(order, trip), trip
        return await self._account.create(order)

    async def _add(self, record: ContainerRecord, caller: Caller, key: UpstreamKey) -> None:
        """Write whose the container is; where that fails nobody could ever reach it, and it is deleted again."""
        try:
            await self._store.add_container(record)
        except BerthError as error:
            if error.code != ID_TAKEN:  # that one is somebody's
                with suppress(BerthError):
                    await self._account.send(orders.container("DELETE", caller, record.container.id), Trip(key))
            raise

    async def _deleted(self, order: Order, trip: Trip) -> object:
        """Send a DELETE and return what came back; that nothing is there is what a repeated one is to find."""
        try:
            reply = await self._account.send(order, trip)
        except NotFoundError:
            if trip.attempts > 1:
                return None
            raise
        value = self._account.read(reply, order, trip) if reply.body else None
        if isinstance(value, dict) and value.get("deleted") is False:
            raise unreadable(self._name, "that it deletes nothing")
        return value

    async def _forget(self, caller: Caller, container_id: str) -> None:
        with suppress(NotFoundError):
            await self._completion.of(self._store.delete_container(caller.tenant, container_id))

    async def _keep(self, record: ContainerRecord, container: Container) -> None:
        """Keep what the provider says of a container, where it says something new."""
        moved = container.last_active_at - record.container.last_active_at
        if moved >= REFRESH_SECONDS or container.status != record.container.status:
            await self._refresh(record.tenant, container)

    async def _touch(self, record: ContainerRecord) -> None:
        """Keep that a container was used just now: the provider counts that, and does not say it in every answer."""
        container, now = record.container, self._now()
        if container.HasField("last_active_at") and now - container.last_active_at >= REFRESH_SECONDS:
            container.last_active_at = now
            await self._refresh(record.tenant, container)

    async def _refresh(self, tenant: str, container: Container) -> None:
        try:
            await self._store.refresh_container(tenant, container)
        except StorageError as error:  # what was asked for is done, and the next answer says it again
            self._log.warning("container.refresh_failed", container_id=container.id, reason=error.message)

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
