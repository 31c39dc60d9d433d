"""FileBackend: the port that handlers use for files of the Files API.

As with Backend, hosted and passthrough backends implement it, idempotency wraps it, and the router
selects one.
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
    """An upload of a file.

    In a multipart body fields may follow the file, so `purpose`, `expires_after` and
    `additional_fields` are final only when `chunks` has ended; everything else is known from the
    start.
    """

    @property
    def provider(self) -> Provider:
        """The provider that the file is for; it is set when a backend gets the upload."""

    @property
    def purpose(self) -> str | None:
        """The purpose of the file as the caller sent it, None if there is none."""

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, None if there is none."""

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, None if there is none."""

    @property
    def expires_after(self) -> FileExpiresAfter | None:
        """When the file expires, None if it does not."""

    @property
    def additional_fields(self) -> Sequence[AdditionalField]:
        """The fields that the contract does not define; final only when `chunks` has ended."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once. InvalidRequestError if the body is malformed or cut off."""


class FileBackend(Protocol):
    """The five operations on files, for one caller at a time.

    Every operation may raise NotFoundError for a file that does not exist or no longer exists, is
    not the caller's, or is not of the provider that the request names. For all other errors and for
    the answers see Backend.
    """

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Store a file, completely or not at all.

        `before_commit` is awaited when all bytes have arrived; if it raises an error, nothing is
        stored.
        """

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of the caller's files, of all providers if none is named."""

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file."""

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open the content of a file."""

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file."""
