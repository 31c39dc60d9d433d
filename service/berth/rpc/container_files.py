"""The handlers of ContainerFileService."""

from collections.abc import AsyncIterator

from google.api.httpbody_pb2 import HttpBody

from berth.core.backend import Backend
from berth.core.router import Router
from berth.rpc.call import Call, NamesContainer
from berth.rpc.downloads import content_headers
from berth.rpc.uploads import open_upload
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    CreateContainerFileRequest,
    DeleteContainerFileRequest,
    DeleteContainerFileResponse,
    ListContainerFilesRequest,
    ListContainerFilesResponse,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)


class ContainerFileHandlers:
    """Each picks a backend, awaits one call of it, and hands back the message."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def CreateContainerFile(
        self, requests: AsyncIterator[CreateContainerFileRequest], call: Call
    ) -> ContainerFile:
        """Store a file that comes as a form, as JSON, or as bytes."""
        upload = await open_upload(requests)
        backend = await self._backend_of(upload, call)
        return await backend.create_container_file(call.caller, upload)

    async def ListContainerFiles(self, request: ListContainerFilesRequest, call: Call) -> ListContainerFilesResponse:
        """Return a page of a container's files."""
        backend = await self._backend_of(request, call)
        return await backend.list_container_files(call.caller, request)

    async def RetrieveContainerFile(self, request: RetrieveContainerFileRequest, call: Call) -> ContainerFile:
        """Return a file."""
        backend = await self._backend_of(request, call)
        return await backend.retrieve_container_file(call.caller, request)

    async def RetrieveContainerFileContent(self, request: RetrieveContainerFileContentRequest, call: Call) -> None:
        """Write the bytes of a file, the first message with their type, also when there are none."""
        backend = await self._backend_of(request, call)
        content = await backend.retrieve_container_file_content(call.caller, request)
        try:
            call.provider = content.provider
            await call.send_headers(content_headers(content))
            await call.write(HttpBody(content_type=content.content_type))
            async for chunk in content.chunks:
                await call.write(HttpBody(data=chunk))
        finally:
            content.close()

    async def DeleteContainerFile(self, request: DeleteContainerFileRequest, call: Call) -> DeleteContainerFileResponse:
        """Delete a file."""
        backend = await self._backend_of(request, call)
        return await backend.delete_container_file(call.caller, request)

    async def _backend_of(self, request: NamesContainer, call: Call) -> Backend:
        named = call.provider_of(request)
        call.provider, backend = await self._router.backend_of(call.caller, named, container_id=request.container_id)
        return backend
