"""FileBackend: the port behind the handlers of files that are in no container.

Beside Backend, and like it: hosted and passthrough implement it, idempotency
wraps it, the router picks one.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from berth.core.caller import Caller
from berth.core.ports.backend import BeforeCommit, Content, nothing
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.file_pb2 import File, FileExpiresAfter
from berth.v1.file_service_pb2 import (
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)
from berth.v1.provider_pb2 import Provider


class FileUpload(Protocol):
    """A file on its way in.

    In a multipart body fields may follow the file, so `purpose` and
    `expires_after` are final only when `chunks` has ended; everything else is
    known from the start.
    """

    @property
    def provider(self) -> Provider:
        """The provider that the file is for; set by the time a backend sees it."""

    @property
    def purpose(self) -> str | None:
        """What the file is for, as the caller sent it, if it did."""

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, if it did."""

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, if it did."""

    @property
    def expires_after(self) -> FileExpiresAfter | None:
        """When the file is to go by itself, if it is."""

    @property
    def additional_fields(self) -> Sequence[AdditionalField]:
        """What the contract has no field for; final only when `chunks` has ended."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once. InvalidRequestError where the body is malformed or cut off."""


class FileBackend(Protocol):
    """The five operations on files, for one caller at a time.

    Any of them raises NotFoundError for a file that is not there, not any more,
    is not the caller's, or is not of the provider that the request names; for
    the rest of what they raise and answer see Backend.
    """

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Store a file, whole or not at all.

        `before_commit` is awaited when all bytes have arrived; if it raises, nothing is stored.
        """

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of the caller's files, of all providers if none is named."""

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file."""

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open a file."""

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file."""
