"""The containers that Berth keeps itself.

Rows are in a ContainerStore, bytes in a BlobStore. The order of writes is what
makes a crash harmless: the blob before its row on upload, the row before its
blobs on delete. So a row never lies; what a crash can leave is a blob without
a row, which nobody sees.
"""

from collections.abc import Callable
from typing import TypeVar

from berth.core.background import Completion
from berth.core.caller import Caller
from berth.core.errors import ContainerExpiredError, NotFoundError, StorageError
from berth.core.hosted.container_rules import HostedLimits, new_container
from berth.core.hosted.content import Stowage
from berth.core.hosted.file_writer import Intake
from berth.core.lifetime import is_worth_writing, status_at
from berth.core.pagination import paging
from berth.core.ports.backend import Content, Upload
from berth.core.ports.stores import BlobStore, ContainerRecord, ContainerStore, FileRecord, Home
from berth.core.routing.container_ownership import Catalogue
from berth.core.routing.file_ownership import FileCatalogue
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
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

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
    """A Backend on a ContainerStore and a BlobStore, for every provider that is hosted.

    `now` gives seconds since 1970; `new_id` makes an id that nobody can guess
    of a prefix and a number of hexadecimal digits.
    """

    def __init__(
        self,
        *,
        store: ContainerStore,
        files: FileCatalogue,
        blobs: BlobStore,
        stowage: Stowage,
        limits: HostedLimits,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        completion: Completion,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._stowage = stowage
        self._limits = limits
        self._now = now
        self._new_id = new_id
        self._catalogue = Catalogue(store, now)
        self._completion = completion
        self._intake = Intake(
            store=store,
            files=files,
            stowage=stowage,
            quotas=limits.quotas,
            now=now,
            new_id=new_id,
            completion=completion,
        )

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container, with the files to copy into it from its first moment on; see Backend."""
        container = new_container(
            request, container_id=self._new_id(*CONTAINER_ID), created_at=self._now(), limits=self._limits
        )
        record = ContainerRecord(
            container, tenant=caller.tenant, provider=request.provider, attempt=caller.options.attempt
        )
        copies = await self._intake.copies(caller, request.file_ids, container_id=container.id)
        try:
            await self._completion.of(
                self._store.add_container(
                    record,
                    domain_secrets=request.network_policy.domain_secrets,
                    copies=copies,
                    quotas=self._limits.quotas,
                )
            )
        except NotFoundError:  # a file went away since it was looked up: say which
            await self._intake.copies(caller, request.file_ids, container_id=container.id)
            raise
        return _of(self._catalogue.shown(record), record.provider)

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of containers; see Backend."""
        return await self._catalogue.containers(caller, request)

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container; see Backend."""
        record = await self._catalogue.container(caller, request.container_id, provider=request.provider)
        if await self._touched(home_of(record), caller, request.container_id):
            record.container.last_active_at = self._now()
        return _of(self._catalogue.shown(record), record.provider)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files; see Backend."""
        record = await self._catalogue.container(caller, request.container_id, provider=request.provider)
        await self._completion.of(self._delete_container(caller.tenant, request.container_id))
        response = DeleteContainerResponse(id=request.container_id, object="container.deleted", deleted=True)
        return _of(response, record.provider)

    async def create_container_file(self, caller: Caller, upload: Upload) -> ContainerFile:
        """Store a file; see Backend."""
        record = await self._catalogue.container(caller, upload.container_id, provider=upload.provider)
        self._require_running(home_of(record))
        await self._touched(home_of(record), caller, upload.container_id)  # it may be long until there is a row
        if upload.file_id is not None:
            file = await self._intake.copy(caller, upload, file_id=upload.file_id)
        else:
            file = await self._intake.take(caller.tenant, upload, attempt=caller.options.attempt)
        return _of(file, record.provider)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of files; see Backend."""
        record = await self._catalogue.container(caller, request.container_id, provider=request.provider)
        self._require_files(home_of(record), request.container_id)
        await self._touched(home_of(record), caller, request.container_id)
        page = await self._store.list_files(caller.tenant, request.container_id, paging(request))
        files = [stored.file for stored in page.data]
        response = ListContainerFilesResponse(object="list", data=files, has_more=page.has_more)
        if files:
            response.first_id, response.last_id = files[0].id, files[-1].id
        return _of(response, record.provider)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a file; see Backend."""
        home, stored = await self._located(caller, request)
        self._require_files(home, request.container_id)
        await self._touched(home, caller, request.container_id)
        return _of(stored.file, home.provider)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open a file; see Backend."""
        home, stored = await self._located(caller, request)
        self._require_files(home, request.container_id)
        await self._touched(home, caller, request.container_id)
        chunks, length = await self._stowage.read(stored.stored, request, rows=self._store)
        return Content(
            provider=home.provider,
            filename=stored.filename,
            content_type=stored.content_type,
            sha256=stored.sha256,
            length=length,
            chunks=chunks,
            size=stored.file.bytes,
            etag=f'"{stored.sha256}"',
            modified_at=stored.file.created_at,
        )

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a file; see Backend."""
        home, _ = await self._located(caller, request)
        self._require_running(home)
        await self._completion.of(self._delete_file(caller.tenant, request.container_id, request.file_id))
        response = DeleteContainerFileResponse(id=request.file_id, object="container.file.deleted", deleted=True)
        return _of(response, home.provider)

    async def _located(self, caller: Caller, request: FileRequest) -> tuple[Home, FileRecord]:
        """Return the caller's file and its container, of the request's provider if that is set."""
        if not request.container_id:
            raise missing("container_id")
        if not request.file_id:
            raise missing("file_id")
        home, stored = await self._store.get_file(caller.tenant, request.container_id, request.file_id)
        if request.provider not in (home.provider, PROVIDER_UNSPECIFIED):
            raise container_file_not_found(request.container_id, request.file_id)
        caller.require(home.provider)
        return home, stored

    async def _delete_container(self, tenant: str, container_id: str) -> None:
        await self._blobs.delete(await self._store.delete_container(tenant, container_id))

    async def _delete_file(self, tenant: str, container_id: str, file_id: str) -> None:
        await self._blobs.delete(await self._store.delete_file(tenant, container_id, file_id))

    async def _touched(self, home: Home, caller: Caller, container_id: str) -> bool:
        """Have a running container be active now, where that is news; tell whether it is written."""
        if self._expired(home) or not is_worth_writing(self._now(), home.last_active_at, home.expires_minutes):
            return False
        try:
            await self._store.touch_container(caller.tenant, container_id)
        except StorageError:  # what can be read is not kept from anybody by what cannot be written
            return False
        return True

    def _expired(self, home: Home) -> bool:
        return status_at(self._now(), expires_at=home.expires_at) == CONTAINER_STATUS_EXPIRED

    def _require_running(self, home: Home) -> None:
        if self._expired(home):
            raise ContainerExpiredError

    def _require_files(self, home: Home, container_id: str) -> None:
        if self._expired(home):
            message = f"The files of container {container_id} are gone: the container is expired."
            raise NotFoundError(message, reason="container_expired")


def home_of(record: ContainerRecord) -> Home:
    """Return what matters about a container to its files."""
    return Home(record.provider, record.container.last_active_at, record.container.expires_after.minutes)


def _of(answer: Answer, provider: Provider) -> Answer:
    """Say in `answer` whose it is."""
    answer.extra_fields.provider = provider
    return answer
