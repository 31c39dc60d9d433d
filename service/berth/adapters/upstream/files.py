"""PassthroughFiles: files of the Files API that exist at a provider, while Berth stores their owners.

Creating a file stores its owner and the key it was created with; later calls use that key. Which other files the
provider is asked for is decided in `file_rows`.
"""

from berth.adapters.upstream import file_requests
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.answers import tenant_file_of, tenant_files_of
from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.file_rows import FileRows
from berth.adapters.upstream.http.download import Span, content_of
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.ports.backend import BeforeCommit, Content, nothing
from berth.core.ports.container_store import UNLIMITED
from berth.core.ports.file_backend import FileUpload
from berth.core.ports.file_store import FileRecord, FileStore
from berth.core.routing.accounts import Accounts
from berth.core.routing.file_ownership import FileOwnership
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import (
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)


class PassthroughFiles:
    """A FileBackend that forwards to the Files API of the provider of `account`."""

    def __init__(
        self,
        account: UpstreamAccount,
        *,
        store: FileStore,
        background: BackgroundTasks,
        accounts: Accounts | None = None,
    ) -> None:
        self._account = account
        self._provider = account.provider
        self._name = account.name
        self._store = store
        self._rows = FileRows(account, store=store, background=background, accounts=accounts)
        self._ownership = FileOwnership(store)
        self._background = background

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Stream a file to the provider as it arrives; see FileBackend. It is read only once, so one key is tried."""
        outgoing = file_requests.new_file(
            caller, upload, forwards_unknown=self._account.forwards_unknown, before_commit=before_commit
        )
        exchange = self._account.exchange(outgoing, self._account.key_for_new(caller))
        file = await exchange.create(lambda value: tenant_file_of(value, provider=self._name))
        record = FileRecord(file, caller.tenant, self._provider, key=exchange.key.name, attempt=caller.options.attempt)
        undo = self._account.exchange(file_requests.file("DELETE", caller, file.id), exchange.key)
        await self._background.finish(
            undo.undo_unless(self._store.add(record, quotas=UNLIMITED, is_own=self._account.owns(caller)))
        )
        return exchange.complete(file, caller.options)

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of files: of the provider's list in an account of the caller's own; see FileBackend.

        Otherwise it has the files that were created here: a provider does not know tenants.
        """
        self._account.require_key(caller)
        key = self._account.own_key(caller)
        if key is None or not self._account.supports("file_list"):
            return await self._ownership.files(caller, request)
        exchange = self._account.exchange(file_requests.files(caller, request), key)
        page = tenant_files_of(await exchange.fetch(), provider=self._name)
        return exchange.complete(page, caller.options)

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file as the provider sees it; see FileBackend."""
        key, record = await self._rows.locate(caller, request)
        exchange = self._account.exchange(file_requests.file("GET", caller, request.file_id), key)
        try:
            file = tenant_file_of(await exchange.fetch(), provider=self._name)
        except NotFoundError as error:
            await self._rows.missed(caller, request.file_id, error)
            raise
        if file.id != request.file_id:
            raise unreadable(self._name, "with another file")
        await self._rows.saw(caller, file, key, record)
        return exchange.complete(file, caller.options)

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open the requested range of a file; see FileBackend."""
        span = Span.of(request)
        key, record = await self._rows.locate(caller, request)
        exchange = self._account.exchange(file_requests.content(caller, request.file_id, span), key)
        try:
            response, done = await exchange.open_stream()
        except NotFoundError as error:
            await self._rows.missed(caller, request.file_id, error)
            raise
        content = await content_of(response, span, provider=self._provider, done=done)
        try:
            if record is None:
                await self._rows.used(caller, [request.file_id], key)
        except BaseException:
            content.close()
            raise
        return content

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file at the provider, then its row; see FileBackend."""
        key, _ = await self._rows.locate(caller, request)
        exchange = self._account.exchange(file_requests.file("DELETE", caller, request.file_id), key)
        try:
            await exchange.delete()
        except NotFoundError as error:
            await self._rows.missed(caller, request.file_id, error)
            raise
        await self._rows.delete(caller, request.file_id)
        response = DeleteFileResponse(id=request.file_id, object="file", deleted=True)
        return exchange.complete(response, caller.options)
