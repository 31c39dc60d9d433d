"""Backend: the one port behind the handlers.

Hosted and passthrough implement it, the cache and idempotency wrap it, the
router picks one. One suite (`tests/contracts/test_backend.py`) runs against
every implementation.
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
    """A file on its way in.

    In a multipart body fields may follow the file, so `file_path` is final only
    when `chunks` has ended; everything else is known from the start.
    """

    @property
    def container_id(self) -> str:
        """The container to put the file into."""

    @property
    def provider(self) -> Provider:
        """The provider that was named, or PROVIDER_UNSPECIFIED."""

    @property
    def file_id(self) -> str | None:
        """The existing file to copy, instead of bytes."""

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, if it did."""

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, if it did."""

    @property
    def file_path(self) -> str | None:
        """Where the caller wants the file."""

    @property
    def additional_fields(self) -> Sequence[AdditionalField]:
        """What the contract has no field for; of a form final only when `chunks` has ended."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once. InvalidRequestError where the body is malformed or cut off."""


def nothing_to_close() -> None:
    """Do nothing."""


BeforeCommit = Callable[[], Awaitable[None]]
"""A step before a resource becomes visible; it refuses the resource by raising an error."""


async def nothing() -> None:
    """Do nothing before the commit."""


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file on their way out: `length` of them, where that is known, from `chunks`.

    `provider`, `filename`, `content_type` and, of the whole file and where known,
    `sha256` (64 hexadecimal digits), `size`, `etag` (as HTTP has it) and
    `modified_at` (seconds since 1970) describe the file. Whoever opened it calls
    `close` when no more of it is wanted, whether or not it was read to its end.
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
    """The nine operations, for one caller at a time.

    Any of them raises NotFoundError for a container or file that is not there,
    is not the caller's, or is not of the provider that the request names;
    InvalidRequestError for a malformed field; PermissionDeniedError for a
    container of a provider that the caller may not use (one that the request
    names is checked by the router); UnsupportedOperationError if the backend
    lacks the operation; UpstreamError and UpstreamTimeoutError when
    what it stands on fails. Answers have `extra_fields.provider` set and the
    rest of `extra_fields` free.
    """

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container for `request.provider`, which is set."""

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of the caller's containers, of all providers if none is named."""

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container, expired ones included."""

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files, expired ones included."""

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file, whole or not at all. ContainerExpiredError if the container is expired.

        `before_commit` is awaited when all bytes have arrived; if it raises, nothing is stored.
        """

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of a container's files. NotFoundError if the container is expired."""

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a file. NotFoundError if its container is expired."""

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open a file. NotFoundError if its container is expired."""

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a file. ContainerExpiredError if its container is expired."""
