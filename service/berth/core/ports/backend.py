"""Backend: the port that handlers use for containers and container files.

Hosted and passthrough backends implement it, the cache and idempotency wrap it, and the router
selects one. One suite (`tests/contracts/test_backend.py`) runs against every implementation.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from berth.core.caller import Caller
from berth.v1.additional_field_pb2 import AdditionalField
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


class Upload(Protocol):
    """An upload of a container file.

    In a multipart body fields may follow the file, so `file_path` and `additional_fields` are final
    only when `chunks` has ended; everything else is known from the start.
    """

    @property
    def container_id(self) -> str:
        """The container to add the file to."""

    @property
    def provider(self) -> Provider:
        """The provider that was named, or PROVIDER_UNSPECIFIED."""

    @property
    def file_id(self) -> str | None:
        """The id of an existing file to copy instead of uploading bytes, None for an upload."""

    @property
    def has_file(self) -> bool:
        """Whether there is a file to upload. Only in an account of the caller's own can it agree with `file_id`."""

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, None if there is none."""

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, None if there is none."""

    @property
    def file_path(self) -> str | None:
        """The path that the caller wants for the file, None if any will do."""

    @property
    def replaces(self) -> bool:
        """Whether a file that has the path gets the content, instead of the path being taken; none of a provider."""

    @property
    def additional_fields(self) -> Sequence[AdditionalField]:
        """The fields that the contract does not define; those of a form are final only when `chunks` has ended."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once. InvalidRequestError if the body is malformed or cut off."""


def nothing_to_close() -> None:
    """Do nothing."""


BeforeCommit = Callable[[], Awaitable[None]]
"""A step before a resource becomes visible; it prevents that by raising an error."""


async def nothing() -> None:
    """Do nothing before the commit."""


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a file for download: `chunks` yields `length` bytes, None if the length is unknown.

    `provider`, `filename` and `content_type` describe the file; so do, for the whole file and None
    if unknown, `sha256` (64 hexadecimal digits), `size` (bytes), `etag` (in HTTP syntax) and
    `modified_at` (seconds since 1970). The code that opened the content calls `close` when it needs
    no more of it, whether or not it was read to its end.
    """

    provider: Provider
    filename: str
    content_type: str
    sha256: str | None
    length: int | None
    chunks: AsyncIterator[bytes]
    close: Callable[[], None] = nothing_to_close
    size: int | None = None
    etag: str | None = None
    modified_at: int | None = None


class Backend(Protocol):
    """The nine operations on containers and container files, for one caller at a time.

    Every operation may raise NotFoundError for a container or container file that does not exist,
    is not the caller's, or is not of the provider that the request names; InvalidRequestError for a
    malformed field; PermissionDeniedError for a container of a provider that the caller may not use
    (a provider that the request names is checked by the router); UnsupportedOperationError if the
    backend lacks the operation; UpstreamError and UpstreamTimeoutError if the provider or the
    storage fails. Answers have `extra_fields.provider` set; the other fields of `extra_fields` are
    not specified.
    """

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Create a container for `request.provider`, which is set."""

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of the caller's containers, of all providers if none is named."""

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container, even an expired one."""

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files, even an expired one."""

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file, completely or not at all. ContainerExpiredError if the container is expired.

        `before_commit` is awaited when all bytes have arrived; if it raises an error, nothing is
        stored.
        """

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of a container's files. NotFoundError if the container is expired."""

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a container file. NotFoundError if its container is expired."""

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open the content of a container file. NotFoundError if its container is expired."""

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a container file. ContainerExpiredError if its container is expired."""
