"""PassthroughBackend: containers that exist at a provider, while Berth stores their owners.

Creating a container stores its owner and the key it was created with; later calls use that key only.
The provider is not asked for a container without a stored owner.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from berth.adapters.upstream import container_requests
from berth.adapters.upstream.account import DIRECT, UpstreamAccount
from berth.adapters.upstream.answers import container_of, file_of, files_of
from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.http.download import Span, content_of
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError, StorageError
from berth.core.ports.backend import BeforeCommit, Content, Upload, nothing
from berth.core.ports.container_store import ContainerRecord, ContainerStore
from berth.core.routing.container_ownership import ContainerOwnership
from berth.core.routing.file_references import FileReferences
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
"""By how much `last_active_at` must have changed for the row to be updated."""


class OnContainer(Protocol):
    """A request on a container."""

    @property
    def container_id(self) -> str:
        """The id of the container."""

    @property
    def provider(self) -> Provider:
        """The provider that the request names, or PROVIDER_UNSPECIFIED."""


class PassthroughBackend:
    """A Backend that forwards to the containers API of a provider; `now` returns seconds since 1970."""

    def __init__(
        self,
        account: UpstreamAccount,
        *,
        store: ContainerStore,
        files: FileReferences,
        now: Callable[[], int],
        log: FilteringBoundLogger,
        background: BackgroundTasks,
    ) -> None:
        self._account = account
        self._provider = account.provider
        self._name = account.name
        self._store = store
        self._files = files
        self._now = now
        self._log = log
        self._ownership = ContainerOwnership(store, now)
        self._background = background

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Create a container with a key that the provider accepts; see Backend.

        If the request names files to copy, the key is the one that created them: other keys may not have access.
        """
        self._account.require("container_create")
        outgoing = container_requests.new_container(caller, request, forwards_unknown=self._account.forwards_unknown)
        origin = await self._files.key_of(caller, request.file_ids)
        exchange = self._account.exchange(outgoing, self._account.key_for_new(caller, preferred=origin))
        is_bound = caller.direct_key is not None or origin not in (None, DIRECT)
        value = await (exchange.fetch() if is_bound else exchange.fetch_with_any_key())
        container = container_of(value, provider=self._name)
        record = ContainerRecord(
            container, caller.tenant, self._provider, key=exchange.key.name, attempt=caller.options.attempt
        )
        undo = self._account.exchange(container_requests.container("DELETE", caller, container.id), exchange.key)
        await self._background.finish(undo.undo_unless(self._store.add_container(record)))
        return exchange.complete(container, caller.options)

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of the containers that were created here; see Backend.

        A provider does not know tenants, so it is not asked, even if it supports lists.
        """
        self._account.require_key(caller)
        return await self._ownership.containers(caller, request)

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container as the provider sees it; see Backend."""
        record, key = await self._locate("container_retrieve", caller, request)
        exchange = self._account.exchange(container_requests.container("GET", caller, request.container_id), key)
        container = container_of(await exchange.fetch(), provider=self._name)
        if container.id != request.container_id:
            raise unreadable(self._name, "with another container")
        await self._refresh_if_changed(record, container)
        return exchange.complete(container, caller.options)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container at the provider, then its row; see Backend."""
        _, key = await self._locate("container_delete", caller, request)
        exchange = self._account.exchange(container_requests.container("DELETE", caller, request.container_id), key)
        try:
            await exchange.delete()
        except NotFoundError:
            await self._delete_row(caller, request.container_id)
            raise
        await self._delete_row(caller, request.container_id)
        response = DeleteContainerResponse(id=request.container_id, object="container.deleted", deleted=True)
        return exchange.complete(response, caller.options)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Stream a container file to the provider as it arrives; see Backend."""
        record, key = await self._locate("container_file_create", caller, upload)
        if upload.file_id is not None:
            await self._files.key_of(caller, [upload.file_id], param="file_id")
        outgoing = container_requests.new_file(
            caller, upload, forwards_unknown=self._account.forwards_unknown, before_commit=before_commit
        )
        exchange = self._account.exchange(outgoing, key)
        file = file_of(await exchange.fetch(), provider=self._name, container_id=upload.container_id)
        await self._touch(record)
        return exchange.complete(file, caller.options)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of container files; see Backend."""
        record, key = await self._locate("container_file_list", caller, request)
        exchange = self._account.exchange(container_requests.files(caller, request), key)
        page = files_of(await exchange.fetch(), provider=self._name, container_id=request.container_id)
        await self._touch(record)
        return exchange.complete(page, caller.options)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a container file; see Backend."""
        outgoing = container_requests.file("GET", caller, request)
        record, key = await self._locate("container_file_retrieve", caller, request)
        exchange = self._account.exchange(outgoing, key)
        file = file_of(await exchange.fetch(), provider=self._name, container_id=request.container_id)
        if file.id != request.file_id:
            raise unreadable(self._name, "with another file")
        await self._touch(record)
        return exchange.complete(file, caller.options)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open the requested range of a container file; see Backend."""
        span = Span.of(request)
        outgoing = container_requests.content(caller, request, span)
        record, key = await self._locate("container_file_content", caller, request)
        response, done = await self._account.exchange(outgoing, key).open_stream()
        content = await content_of(response, span, provider=self._provider, done=done)
        try:
            await self._touch(record)
        except BaseException:
            content.close()
            raise
        return content

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a container file; see Backend."""
        outgoing = container_requests.file("DELETE", caller, request)
        record, key = await self._locate("container_file_delete", caller, request)
        exchange = self._account.exchange(outgoing, key)
        await exchange.delete()
        await self._touch(record)
        response = DeleteContainerFileResponse(id=request.file_id, object="container.file.deleted", deleted=True)
        return exchange.complete(response, caller.options)

    async def _locate(
        self, request_type: str, caller: Caller, request: OnContainer
    ) -> tuple[ContainerRecord, UpstreamKey]:
        """Return the caller's container and the key it was created with; check that the operation is supported."""
        self._account.require(request_type)
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        return record, self._account.key_for(caller, record.key)

    async def _delete_row(self, caller: Caller, container_id: str) -> None:
        with suppress(NotFoundError):
            await self._background.finish(self._store.delete_container(caller.tenant, container_id))

    async def _refresh_if_changed(self, record: ContainerRecord, container: Container) -> None:
        """Update the row of a container if its status has changed, or its last activity by REFRESH_SECONDS."""
        elapsed = container.last_active_at - record.container.last_active_at
        if elapsed >= REFRESH_SECONDS or container.status != record.container.status:
            await self._refresh(record.tenant, container)

    async def _touch(self, record: ContainerRecord) -> None:
        """Set the last activity of a container to now, as the provider does without saying so in every response."""
        container, now = record.container, self._now()
        if container.HasField("last_active_at") and now - container.last_active_at >= REFRESH_SECONDS:
            container.last_active_at = now
            await self._refresh(record.tenant, container)

    async def _refresh(self, tenant: str, container: Container) -> None:
        try:
            await self._store.refresh_container(tenant, container)
        except StorageError as error:  # the operation itself succeeded, and the next one updates the row
            self._log.warning("container.refresh_failed", container_id=container.id, reason=error.message)
