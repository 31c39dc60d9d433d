"""Two places that files are in, a container and the Files API, seen the same way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from berth.client.connection import Connection
from berth.client.downloads import Download
from berth.client.listing import Listing
from berth.v1 import container_file_service_pb2 as inside
from berth.v1 import file_service_pb2 as outside
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.file_pb2 import File, FileExpiresAfter
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

AnyFile = File | ContainerFile


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a new file. `path` is for one in a container, `purpose` and `seconds` for one outside."""

    filename: str
    content_type: str
    provider: Provider = PROVIDER_UNSPECIFIED
    path: str | None = None
    purpose: str | None = None
    seconds: int | None = None


class Files(Protocol):
    """The files of one place. Errors are those of Connection."""

    def listing(self, limit: int | None, *, provider: Provider, purpose: str | None) -> Listing[Any]:
        """Return the newest files."""

    def show(self, file_id: str) -> AnyFile:
        """Return what is known of a file."""

    def upload(self, description: Description, pieces: Iterator[bytes]) -> AnyFile:
        """Store a file."""

    def download(self, file_id: str) -> Download:
        """Begin to receive a file."""

    def delete(self, file_id: str) -> None:
        """Delete a file."""


class FilesInside:
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
        purpose: str | None,  # noqa: ARG002 - here files have none
    ) -> Listing[ContainerFile]:
        """Return the newest files."""

        def fetch(size: int, after: str | None) -> inside.ListContainerFilesResponse:
            request = inside.ListContainerFilesRequest(
                container_id=self._id, provider=provider, limit=size, after=after
            )
            return self._connection.ask(self._stub.ListContainerFiles, request)

        return Listing(fetch, limit)

    def show(self, file_id: str) -> ContainerFile:
        """Return what is known of a file."""
        request = inside.RetrieveContainerFileRequest(container_id=self._id, file_id=file_id)
        return self._connection.ask(self._stub.RetrieveContainerFile, request)

    def upload(self, description: Description, pieces: Iterator[bytes]) -> ContainerFile:
        """Store a file."""
        first = inside.CreateContainerFileRequest(
            container_id=self._id,
            provider=description.provider,
            filename=description.filename,
            content_type=description.content_type,
            file_path=description.path,
        )
        return self._connection.send(self._stub.CreateContainerFile, first, pieces)

    def copy(self, file_id: str, path: str | None) -> ContainerFile:
        """Put a copy of a file of the Files API here."""
        first = inside.CreateContainerFileRequest(container_id=self._id, file_id=file_id, file_path=path)
        return self._connection.send(self._stub.CreateContainerFile, first, iter(()))

    def download(self, file_id: str) -> Download:
        """Begin to receive a file."""
        request = inside.RetrieveContainerFileContentRequest(container_id=self._id, file_id=file_id)
        return self._connection.receive(self._stub.RetrieveContainerFileContent, request)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        request = inside.DeleteContainerFileRequest(container_id=self._id, file_id=file_id)
        self._connection.ask(self._stub.DeleteContainerFile, request)


class FilesOutside:
    """The files of the Files API, which are in no container."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = connection.files

    def listing(self, limit: int | None, *, provider: Provider, purpose: str | None) -> Listing[File]:
        """Return the newest files."""

        def fetch(size: int, after: str | None) -> outside.ListFilesResponse:
            request = outside.ListFilesRequest(provider=provider, purpose=purpose, limit=size, after=after)
            return self._connection.ask(self._stub.ListFiles, request)

        return Listing(fetch, limit)

    def show(self, file_id: str) -> File:
        """Return what is known of a file."""
        return self._connection.ask(self._stub.RetrieveFile, outside.RetrieveFileRequest(file_id=file_id))

    def upload(self, description: Description, pieces: Iterator[bytes]) -> File:
        """Store a file."""
        seconds = description.seconds
        first = outside.CreateFileRequest(
            provider=description.provider,
            purpose=description.purpose,
            filename=description.filename,
            content_type=description.content_type,
            expires_after=None if seconds is None else FileExpiresAfter(anchor="created_at", seconds=seconds),
        )
        return self._connection.send(self._stub.CreateFile, first, pieces)

    def download(self, file_id: str) -> Download:
        """Begin to receive a file."""
        request = outside.RetrieveFileContentRequest(file_id=file_id)
        return self._connection.receive(self._stub.RetrieveFileContent, request)

    def delete(self, file_id: str) -> None:
        """Delete a file."""
        self._connection.ask(self._stub.DeleteFile, outside.DeleteFileRequest(file_id=file_id))


def files_of(connection: Connection, container_id: str | None) -> Files:
    """Return the files of a container, or of the Files API."""
    return FilesOutside(connection) if container_id is None else FilesInside(connection, container_id)
