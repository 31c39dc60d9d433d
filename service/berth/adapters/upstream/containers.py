"""PassthroughBackend: containers that exist at a provider, while Berth stores their owners.

Creating a container stores its owner and the key it was created with; later calls use that key only.
Which other containers the provider is asked for is decided in `container_rows`.
"""

from berth.adapters.upstream import container_requests
from berth.adapters.upstream.account import DIRECT, UpstreamAccount
from berth.adapters.upstream.answers import container_of, containers_of, file_of, files_of
from berth.adapters.upstream.container_rows import ContainerRows, Located, OnContainer
from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.exchange import Exchange
from berth.adapters.upstream.file_rows import FileRows
from berth.adapters.upstream.http.download import Span, content_of
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.ports.backend import BeforeCommit, Content, Upload, nothing
from berth.core.ports.container_store import ContainerRecord, ContainerStore
from berth.core.ports.file_store import FileStore
from berth.core.ports.usage_store import Charge
from berth.core.routing.accounts import Accounts
from berth.core.routing.container_ownership import ContainerOwnership
from berth.core.routing.file_references import FileReferences
from berth.core.usage.budgets import Budgets
from berth.core.usage.prices import DEFAULT_MEMORY
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


class PassthroughBackend:
    """A Backend that forwards to the containers API of the provider of `account`.

    `accounts` are those of all providers; without it, that of this provider alone.
    """

    def __init__(
        self,
        account: UpstreamAccount,
        *,
        store: ContainerStore,
        files: FileStore,
        background: BackgroundTasks,
        budgets: Budgets,
        accounts: Accounts | None = None,
    ) -> None:
        self._account = account
        self._provider = account.provider
        self._name = account.name
        self._store = store
        self._file_references = FileReferences(files, account.provider, accounts)
        self._file_rows = FileRows(account, store=files, background=background, accounts=accounts)
        self._ownership = ContainerOwnership(store, account.now)
        self._background = background
        self._budgets = budgets
        self._rows = ContainerRows(
            account,
            store=store,
            accounts=accounts or Accounts({account.provider: account}),
            background=background,
        )

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Create a container with a key that the provider accepts; see Backend.

        If the request names files to copy, the key is the one that created them: other keys may not have access. With
        a budget this is completed even if the caller is cancelled, because the container costs something all the same.
        """
        create = self._create_container(caller, request)
        return await (create if caller.budget is None else self._background.finish(create))

    async def _create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        self._account.require("container_create")
        outgoing = container_requests.new_container(
            caller, request, forwards_unknown=self._account.forwards_unknown, dialect=self._account.dialect
        )
        origin, unknown = await self._file_references.find(caller, request.file_ids)
        if origin is None and request.file_ids and (asked := self._account.key_for_unknown(caller)):
            origin = asked.name
        exchange = self._account.exchange(outgoing, self._account.key_for_new(caller, preferred=origin))
        is_bound = caller.direct_key is not None or origin not in (None, DIRECT)
        charge = self._budgets.charge(caller, self._provider, request.memory_limit or DEFAULT_MEMORY)
        async with self._budgets.reserved(charge) as held:
            container = await exchange.create(
                lambda value: container_of(value, provider=self._name), with_any_key=not is_bound
            )
            await self._add(caller, container, exchange, held)
        await self._file_rows.used(caller, unknown, exchange.key)
        return exchange.complete(container, caller.options)

    async def _add(self, caller: Caller, container: Container, exchange: Exchange, held: Charge | None) -> None:
        """Store the owner of a new container; if that fails, delete it."""
        record = ContainerRecord(
            container,
            caller.tenant,
            self._provider,
            key=exchange.key.name,
            attempt=caller.options.attempt,
            created_by=caller.name,
            charge=held,
        )
        undo = self._account.exchange(container_requests.container("DELETE", caller, container.id), exchange.key)
        await self._background.finish(
            undo.undo_unless(self._store.add_container(record, is_own=self._account.owns(caller)))
        )

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of containers; see Backend.

        In an account of the caller's own it is the provider's list. Otherwise it has the containers that were created
        here: a provider does not know tenants.
        """
        self._account.require_key(caller)
        key = self._account.own_key(caller)
        if key is None or not self._account.supports("container_list"):
            return await self._ownership.containers(caller, request)
        exchange = self._account.exchange(container_requests.containers(caller, request), key)
        page = containers_of(await exchange.fetch(), provider=self._name)
        return exchange.complete(page, caller.options)

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container as the provider sees it; see Backend."""
        located = await self._locate("container_retrieve", caller, request)
        outgoing = container_requests.container("GET", caller, request.container_id)
        exchange = self._account.exchange(outgoing, located.key)
        container = container_of(await self._fetch(exchange, located), provider=self._name)
        if container.id != request.container_id:
            raise unreadable(self._name, "with another container")
        await self._rows.saw(located, container)
        return exchange.complete(container, caller.options)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container at the provider, then its row; see Backend."""
        located = await self._locate("container_delete", caller, request)
        outgoing = container_requests.container("DELETE", caller, request.container_id)
        exchange = self._account.exchange(outgoing, located.key)
        try:
            await exchange.delete()
        except NotFoundError as error:
            await self._rows.missed(located, error)
            raise
        await self._rows.delete(located)
        response = DeleteContainerResponse(id=request.container_id, object="container.deleted", deleted=True)
        return exchange.complete(response, caller.options)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Stream a container file to the provider as it arrives; see Backend."""
        located = await self._locate("container_file_create", caller, upload)
        copied = [] if upload.file_id is None else [upload.file_id]
        _, unknown = await self._file_references.find(caller, copied, param="file_id")
        outgoing = container_requests.new_file(
            caller,
            upload,
            forwards_unknown=self._account.forwards_unknown,
            dialect=self._account.dialect,
            before_commit=before_commit,
        )
        exchange = self._account.exchange(outgoing, located.key)
        file = await exchange.create(
            lambda value: file_of(value, provider=self._name, container_id=upload.container_id)
        )
        await self._rows.used(located)
        await self._file_rows.used(caller, unknown, located.key)
        return exchange.complete(file, caller.options)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of container files; see Backend."""
        located = await self._locate("container_file_list", caller, request)
        outgoing = container_requests.files(caller, request, is_own=self._account.owns(caller))
        exchange = self._account.exchange(outgoing, located.key)
        value = await self._fetch(exchange, located)
        page = files_of(value, provider=self._name, container_id=request.container_id)
        await self._rows.used(located)
        return exchange.complete(page, caller.options)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a container file; see Backend."""
        outgoing = container_requests.file("GET", caller, request)
        located = await self._locate("container_file_retrieve", caller, request)
        exchange = self._account.exchange(outgoing, located.key)
        file = file_of(await exchange.fetch(), provider=self._name, container_id=request.container_id)
        if file.id != request.file_id:
            raise unreadable(self._name, "with another file")
        await self._rows.used(located)
        return exchange.complete(file, caller.options)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open the requested range of a container file; see Backend."""
        span = Span.of(request)
        outgoing = container_requests.content(caller, request, span)
        located = await self._locate("container_file_content", caller, request)
        response, done = await self._account.exchange(outgoing, located.key).open_stream()
        content = await content_of(response, span, provider=self._provider, done=done)
        try:
            await self._rows.used(located)
        except BaseException:
            content.close()
            raise
        return content

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a container file; see Backend."""
        outgoing = container_requests.file("DELETE", caller, request)
        located = await self._locate("container_file_delete", caller, request)
        exchange = self._account.exchange(outgoing, located.key)
        await exchange.delete()
        await self._rows.used(located)
        response = DeleteContainerFileResponse(id=request.file_id, object="container.file.deleted", deleted=True)
        return exchange.complete(response, caller.options)

    async def _fetch(self, exchange: Exchange, located: Located) -> object:
        """Send a request in which nothing but the container can be missing; return the JSON value of the response."""
        try:
            return await exchange.fetch()
        except NotFoundError as error:
            await self._rows.missed(located, error)
            raise

    async def _locate(self, request_type: str, caller: Caller, request: OnContainer) -> Located:
        """Return the container of a request; check that the operation is supported."""
        self._account.require(request_type)
        return await self._rows.locate(caller, request)
