"""One interface for container files and for files of the Files API."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from berth.client.connection import Connection
from berth.client.downloads import Download
from berth.client.listing import Listing
from berth.v1 import container_file_service_pb2, file_service_pb2
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.file_pb2 import File, FileExpiresAfter
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

AnyFile = File | ContainerFile


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of a new file.

    `path` is for container files; `purpose` and `seconds` (until it expires) are for files of the Files API.
    """

    filename: str
    content_type: str
    provider: Provider = PROVIDER_UNSPECIFIED
    path: str | None = None
    purpose: str | None = None
    seconds: int | None = None


class Files(Protocol):
    """The files of a container, or of the Files API. Methods raise the errors of Connection."""

    def listing(self, limit: int | None, *, provider: Provider, purpose: str | None) -> Listing[Any]:
        """Return the files, newest first, at most `limit`."""

    def show(self, file_id: str) -> AnyFile:
        """Return the metadata of a file."""

    def upload(self, description: Description, pieces: Iterator[bytes]) -> AnyFile:
        """Upload a file."""

    def download(self, file_id: str) -> Download:
        """Start to download a file."""

    def delete(self, file_id: str) -> None:
        """Delete a file."""


class ContainerFiles:
    """The files of a container."""

    def __init__(self, connection: Connection, container_id: str) -> None:
        self._connection = connection
        self._stub = connection.container_files
        self._id = container_id

    def listing(
        self,
        limit: int | None,
        *,
        provider: Provider,
        purpose: str | None,  # noqa: ARG002 - container files have no purpose
    ) -> Listing[ContainerFile]:
        """Return the files, newest first, at most `limit`."""

        def fetch(size: int, after: str | None) -> container_file_service_pb2.ListContainerFilesResponse:
            request = container_file_service_pb2.ListContainerFilesRequest(
                container_id=self._id, provider=provider, limit=size, after=after
            )
            return self._connection.ask(self._stub.ListContainerFiles, request)

        return Listing(fetch, limit)

    def show(self, file_id: str) -> ContainerFile:
        """Return the metadata of a file."""
        request = container_file_service_pb2.RetrieveContainerFileRequest(container_id=self._id, file_id=file_id)
        return self._connection.ask(self._stub.RetrieveContainerFile, request)

    def upload(self, description: Description, pieces: Iterator[bytes]) -> ContainerFile:
        """Upload a file."""
        first = container_file_service_pb2.CreateContainerFileRequest(
            container_id=self._id,
            provider=description.provider,
            filename=description.filename,
            content_type=description.content_type,
            file_path=description.path,
        )
        return self._connection.send(self._stub.CreateContainerFile, first, pieces)

    def copy(self, file_id: str, path: str | None) -> ContainerFile:
        """Copy a file of the Files API into the container."""
        first = container_file_service_pb2.CreateContainerFileRequest(
            container_id=self._id, file_id=file_id, file_path=path
        )
        return self._connection.send(self._stub.CreateContainerFile, first, iter(()))

    def download(self, file_id: str) -> Download:
        """Start to download a file."""
        request = container_file_service_pb2.RetrieveContainerFileContentRequest(container_id=self._id, file_id=file_id)
        return self._connection.receive(self._stub.RetrieveContainerFileContent, request)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        request = container_file_service_pb2.DeleteContainerFileRequest(container_id=self._id, file_id=file_id)
        self._connection.ask(self._stub.DeleteContainerFile, request)


class TenantFiles:
    """The files of the Files API, which are outside of containers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = connection.files

    def listing(self, limit: int | None, *, provider: Provider, purpose: str | None) -> Listing[File]:
        """Return the files, newest first, at most `limit`."""

        def fetch(size: int, after: str | None) -> file_service_pb2.ListFilesResponse:
            request = file_service_pb2.ListFilesRequest(provider=provider, purpose=purpose, limit=size, after=after)
            return self._connection.ask(self._stub.ListFiles, request)

        return Listing(fetch, limit)

    def show(self, file_id: str) -> File:
        """Return the metadata of a file."""
        return self._connection.ask(self._stub.RetrieveFile, file_service_pb2.RetrieveFileRequest(file_id=file_id))

    def upload(self, description: Description, pieces: Iterator[bytes]) -> File:
        """Upload a file."""
        seconds = description.seconds
        first = file_service_pb2.CreateFileRequest(
            provider=description.provider,
            purpose=description.purpose,
            filename=description.filename,
            content_type=description.content_type,
            expires_after=None if seconds is None else FileExpiresAfter(anchor="created_at", seconds=seconds),
        )
        return self._connection.send(self._stub.CreateFile, first, pieces)

    def download(self, file_id: str) -> Download:
        """Start to download a file."""
        request = file_service_pb2.RetrieveFileContentRequest(file_id=file_id)
        return self._connection.receive(self._stub.RetrieveFileContent, request)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        self._connection.ask(self._stub.DeleteFile, file_service_pb2.DeleteFileRequest(file_id=file_id))


def files_of(connection: Connection, container_id: str | None) -> Files:
    """Return the files of a container, or of the Files API if `container_id` is None."""
    return TenantFiles(connection) if container_id is None else ContainerFiles(connection, container_id)
