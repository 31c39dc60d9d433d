"""Wrappers of a Backend and a FileBackend that pass on each operation that a subclass does not override."""

from berth.core.caller import Caller
from berth.core.ports.backend import Backend, BeforeCommit, Content, Upload, nothing
from berth.core.ports.file_backend import FileBackend, FileUpload
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
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import (
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)


class BackendWrapper:
    """A Backend that passes each operation on to `backend` unless a subclass overrides it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Create a container; see Backend."""
        return await self._backend.create_container(caller, request)

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of containers; see Backend."""
        return await self._backend.list_containers(caller, request)

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container; see Backend."""
        return await self._backend.retrieve_container(caller, request)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files; see Backend."""
        return await self._backend.delete_container(caller, request)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file; see Backend."""
        return await self._backend.create_container_file(caller, upload, before_commit=before_commit)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of container files; see Backend."""
        return await self._backend.list_container_files(caller, request)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a container file; see Backend."""
        return await self._backend.retrieve_container_file(caller, request)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open the content of a container file; see Backend."""
        return await self._backend.retrieve_container_file_content(caller, request)

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a container file; see Backend."""
        return await self._backend.delete_container_file(caller, request)


class FileBackendWrapper:
    """A FileBackend that passes each operation on to `backend` unless a subclass overrides it."""

    def __init__(self, backend: FileBackend) -> None:
        self._backend = backend

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Store a file; see FileBackend."""
        return await self._backend.create_file(caller, upload, before_commit=before_commit)

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of files; see FileBackend."""
        return await self._backend.list_files(caller, request)

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file; see FileBackend."""
        return await self._backend.retrieve_file(caller, request)

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open the content of a file; see FileBackend."""
        return await self._backend.retrieve_file_content(caller, request)

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file; see FileBackend."""
        return await self._backend.delete_file(caller, request)
