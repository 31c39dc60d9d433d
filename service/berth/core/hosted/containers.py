"""Hosted containers: rows in a ContainerStore, content in a BlobStore.

An upload writes the blob before its row, and a deletion deletes the row before its blobs. A crash
can therefore leave a blob without a row, which is invisible to callers, but never a row without its
blob.
"""

from collections.abc import Callable
from typing import TypeVar

from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import ContainerExpiredError, NotFoundError, StorageError
from berth.core.hosted.container_rules import HostedLimits, new_container
from berth.core.hosted.content import ContentStore
from berth.core.hosted.file_writer import ContainerFileWriter
from berth.core.lifetime import is_worth_writing, status_at
from berth.core.pagination import page_of, read_pagination
from berth.core.ports.backend import BeforeCommit, Content, Upload, nothing
from berth.core.ports.container_store import ContainerFileRecord, ContainerRecord, ContainerStore, ContainerSummary
from berth.core.routing.container_ownership import ContainerOwnership
from berth.core.routing.file_ownership import FileOwnership
from berth.core.usage.budgets import Budgets
from berth.core.validation import container_file_not_found, missing
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    DeleteContainerFileResponse,
    ListContainerFilesRequest,
    ListContainerFilesResponse,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, Container
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    DeleteContainerResponse,
    ListContainersRequest,
    ListContainersResponse,
    RetrieveContainerRequest,
)
from berth.v1.provider_pb2 import Provider

CONTAINER_ID = ("cntr_", 48)

Answer = TypeVar(
    "Answer",
    Container,
    ContainerFile,
    ListContainerFilesResponse,
    DeleteContainerResponse,
    DeleteContainerFileResponse,
)
FileRequest = RetrieveContainerFileRequest | RetrieveContainerFileContentRequest | DeleteContainerFileRequest


class HostedBackend:
    """A Backend on a ContainerStore and a ContentStore, for every hosted provider.

    `now` returns seconds since 1970; `new_id` returns an unguessable id made of a prefix and a
    number of hexadecimal digits.
    """

    def __init__(
        self,
        *,
        store: ContainerStore,
        files: FileOwnership,
        content: ContentStore,
        limits: HostedLimits,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        background: BackgroundTasks,
        budgets: Budgets,
    ) -> None:
        self._store = store
        self._budgets = budgets
        self._content = content
        self._limits = limits
        self._now = now
        self._new_id = new_id
        self._ownership = ContainerOwnership(store, now)
        self._background = background
        self._is_deleting_leftovers = False
        self._writer = ContainerFileWriter(
            store=store,
            files=files,
            content=content,
            quotas=limits.quotas,
            now=now,
            new_id=new_id,
            background=background,
        )

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Create a container together with the files to copy into it; see Backend."""
        container = new_container(
            request, container_id=self._new_id(*CONTAINER_ID), created_at=self._now(), limits=self._limits
        )
        record = ContainerRecord(
            container,
            tenant=caller.tenant,
            provider=request.provider,
            attempt=caller.options.attempt,
            created_by=caller.name,
            charge=self._budgets.charge(caller, request.provider, container.memory_limit),
        )
        copies = await self._writer.copies(caller, request.file_ids, container_id=container.id)
        try:
            await self._background.finish(
                self._store.add_container(
                    record,
                    domain_secrets=request.network_policy.domain_secrets,
                    copies=copies,
                    quotas=self._limits.quotas,
                )
            )
        except NotFoundError:  # a file was deleted since the lookup: raise the error that names it
            await self._writer.copies(caller, request.file_ids, container_id=container.id)
            raise
        return _with_provider(self._ownership.with_status(record), record.provider)

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of containers; see Backend."""
        return await self._ownership.containers(caller, request)

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container; see Backend."""
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        if await self._touch(summary_of(record), caller, request.container_id):
            record.container.last_active_at = self._now()
        return _with_provider(self._ownership.with_status(record), record.provider)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files; see Backend."""
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        await self._content.release(self._store.delete_container(caller.tenant, request.container_id))
        self._background.start(self._delete_leftovers())
        response = DeleteContainerResponse(id=request.container_id, object="container.deleted", deleted=True)
        return _with_provider(response, record.provider)

    async def _delete_leftovers(self) -> None:
        """Delete what is left of containers with very many files. If this ends early, the sweeper goes on.

        One task does so at a time: the writes of many would share a transaction, for which all other writes wait.
        """
        if self._is_deleting_leftovers:
            return
        self._is_deleting_leftovers = True
        try:
            while (blobs := await self._store.delete_leftovers()) is not None:
                await self._content.delete(blobs)
        finally:
            self._is_deleting_leftovers = False

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file; see Backend."""
        record = await self._ownership.container(caller, upload.container_id, provider=upload.provider)
        self._require_running(summary_of(record))
        await self._touch(summary_of(record), caller, upload.container_id)  # a long upload must not let it expire
        if upload.file_id is not None:
            file = await self._writer.copy(caller, upload, file_id=upload.file_id)
        else:
            file = await self._writer.write(caller, upload, before_commit=before_commit)
        return _with_provider(file, record.provider)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of container files; see Backend."""
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        self._require_files(summary_of(record), request.container_id)
        await self._touch(summary_of(record), caller, request.container_id)
        page = await self._store.list_files(caller.tenant, request.container_id, read_pagination(request))
        if not page.data:  # there are no files, or the container was deleted meanwhile
            await self._ownership.container(caller, request.container_id, provider=request.provider)
        files = [stored.file for stored in page.data]
        response = page_of(ListContainerFilesResponse, files, has_more=page.has_more)
        return _with_provider(response, record.provider)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a container file; see Backend."""
        summary, stored = await self._find_file(caller, request)
        self._require_files(summary, request.container_id)
        await self._touch(summary, caller, request.container_id)
        return _with_provider(stored.file, summary.provider)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open the content of a container file; see Backend."""
        summary, stored = await self._find_file(caller, request)
        self._require_files(summary, request.container_id)
        await self._touch(summary, caller, request.container_id)
        return await self._content.open(
            stored.stored,
            request,
            rows=self._store,
            provider=summary.provider,
            filename=stored.filename,
            content_type=stored.content_type,
            modified_at=stored.modified_at or stored.file.created_at,
        )

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a container file; see Backend."""
        summary, _ = await self._find_file(caller, request)
        self._require_running(summary)
        await self._content.release(self._store.delete_file(caller.tenant, request.container_id, request.file_id))
        response = DeleteContainerFileResponse(id=request.file_id, object="container.file.deleted", deleted=True)
        return _with_provider(response, summary.provider)

    async def _find_file(self, caller: Caller, request: FileRequest) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return the caller's container file and its container, of the request's provider if that is set."""
        if not request.container_id:
            raise missing("container_id")
        if not request.file_id:
            raise missing("file_id")
        summary, stored = await self._store.get_file(caller.tenant, request.container_id, request.file_id)
        caller.require_match(
            summary.provider,
            named=request.provider,
            not_found=lambda: container_file_not_found(request.container_id, request.file_id),
        )
        return summary, stored

    async def _touch(self, summary: ContainerSummary, caller: Caller, container_id: str) -> bool:
        """Set the last activity of a running container to now if it is out of date; return whether it was written."""
        if self._is_expired(summary) or not is_worth_writing(
            self._now(), summary.last_active_at, summary.expires_minutes
        ):
            return False
        try:
            await self._store.touch_container(caller.tenant, container_id)
        except StorageError:  # a failed write must not prevent a read
            return False
        return True

    def _is_expired(self, summary: ContainerSummary) -> bool:
        return status_at(self._now(), expires_at=summary.expires_at) == CONTAINER_STATUS_EXPIRED

    def _require_running(self, summary: ContainerSummary) -> None:
        if self._is_expired(summary):
            raise ContainerExpiredError

    def _require_files(self, summary: ContainerSummary, container_id: str) -> None:
        if self._is_expired(summary):
            message = f"The files of container {container_id} are gone: the container is expired."
            raise NotFoundError(message, reason="container_expired")


def summary_of(record: ContainerRecord) -> ContainerSummary:
    """Return the fields of a container that matter to its files."""
    return ContainerSummary(record.provider, record.container.last_active_at, record.container.expires_after.minutes)


def _with_provider(answer: Answer, provider: Provider) -> Answer:
    """Set the provider in `answer` and return it."""
    answer.extra_fields.provider = provider
    return answer
