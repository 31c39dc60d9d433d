"""PassthroughFiles: files of the Files API that exist at a provider, while Berth stores their owners.

Creating a file stores its owner and the key it was created with; later calls use that key.
"""

from contextlib import suppress

from berth.adapters.upstream import file_requests
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.answers import tenant_file_of
from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.http.download import Span, content_of
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.ports.backend import BeforeCommit, Content, nothing
from berth.core.ports.container_store import UNLIMITED
from berth.core.ports.file_backend import FileUpload
from berth.core.ports.file_store import FileRecord, FileStore
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

FileRequest = RetrieveFileRequest | RetrieveFileContentRequest | DeleteFileRequest


class PassthroughFiles:
    """A FileBackend that forwards to the Files API of the provider of `account`."""

    def __init__(self, account: UpstreamAccount, *, store: FileStore, background: BackgroundTasks) -> None:
        self._account = account
        self._provider = account.provider
        self._name = account.name
        self._store = store
        self._ownership = FileOwnership(store)
        self._background = background

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Stream a file to the provider as it arrives; see FileBackend. It is read only once, so one key is tried."""
        outgoing = file_requests.new_file(
            caller, upload, forwards_unknown=self._account.forwards_unknown, before_commit=before_commit
        )
        exchange = self._account.exchange(outgoing, self._account.key_for_new(caller))
        file = tenant_file_of(await exchange.fetch(), provider=self._name)
        record = FileRecord(file, caller.tenant, self._provider, key=exchange.key.name, attempt=caller.options.attempt)
        undo = self._account.exchange(file_requests.file("DELETE", caller, file.id), exchange.key)
        await self._background.finish(undo.undo_unless(self._store.add(record, quotas=UNLIMITED)))
        return exchange.complete(file, caller.options)

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of the files that were created here; see FileBackend. A provider does not know tenants."""
        self._account.require_key(caller)
        return await self._ownership.files(caller, request)

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file as the provider sees it; see FileBackend."""
        key = await self._key(caller, request)
        exchange = self._account.exchange(file_requests.file("GET", caller, request.file_id), key)
        file = tenant_file_of(await exchange.fetch(), provider=self._name)
        if file.id != request.file_id:
            raise unreadable(self._name, "with another file")
        return exchange.complete(file, caller.options)

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open the requested range of a file; see FileBackend."""
        span = Span.of(request)
        key = await self._key(caller, request)
        exchange = self._account.exchange(file_requests.content(caller, request.file_id, span), key)
        response, done = await exchange.open_stream()
        return await content_of(response, span, provider=self._provider, done=done)

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file at the provider, then its row; see FileBackend."""
        key = await self._key(caller, request)
        exchange = self._account.exchange(file_requests.file("DELETE", caller, request.file_id), key)
        try:
            await exchange.delete()
        except NotFoundError:
            await self._delete_row(caller, request.file_id)
            raise
        await self._delete_row(caller, request.file_id)
        response = DeleteFileResponse(id=request.file_id, object="file", deleted=True)
        return exchange.complete(response, caller.options)

    async def _key(self, caller: Caller, request: FileRequest) -> UpstreamKey:
        """Return the key that a file of the caller was created with."""
        record = await self._ownership.file(caller, request.file_id, provider=request.provider)
        return self._account.key_for(caller, record.key)

    async def _delete_row(self, caller: Caller, file_id: str) -> None:
        with suppress(NotFoundError):
            await self._background.finish(self._store.delete(caller.tenant, file_id))
