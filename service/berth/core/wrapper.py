"""What wraps a Backend: each operation goes on to it, unless the wrapper has something to say."""

from berth.core.backend import Backend, Content, Upload
from berth.core.caller import Caller
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


class BackendWrapper:
    """A Backend that is `backend` where a subclass does not override it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container; see Backend."""
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

    async def create_container_file(self, caller: Caller, upload: Upload) -> ContainerFile:
        """Store a file; see Backend."""
        return await self._backend.create_container_file(caller, upload)

    async def list_container_files(
        self, caller: Caller, request: ListContainerFilesRequest
    ) -> ListContainerFilesResponse:
        """Return a page of files; see Backend."""
        return await self._backend.list_container_files(caller, request)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a file; see Backend."""
        return await self._backend.retrieve_container_file(caller, request)

    async def retrieve_container_file_content(
        self, caller: Caller, request: RetrieveContainerFileContentRequest
    ) -> Content:
        """Open a file; see Backend."""
        return await self._backend.retrieve_container_file_content(caller, request)

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a file; see Backend."""
        return await self._backend.delete_container_file(caller, request)
