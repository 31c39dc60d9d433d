"""The handlers of ContainerFileService."""

from collections.abc import AsyncIterator
from functools import partial

from berth.rpc.bodies.downloads import require_etag, send_content
from berth.rpc.bodies.uploads import open_upload
from berth.rpc.call import Call
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
    """Handles ContainerFileService. Each method calls the backend that admission chose and returns its response."""

    def __init__(self, *, max_json_bytes: int) -> None:
        self._max_json_bytes = max_json_bytes

    async def CreateContainerFile(
        self, requests: AsyncIterator[CreateContainerFileRequest], call: Call
    ) -> ContainerFile:
        """Store a container file that is sent as a form, as JSON or as raw bytes."""
        upload = await open_upload(
            requests,
            max_json_bytes=self._max_json_bytes,
            is_judged=lambda: call.admitted.is_own_account,  # known once the first request is read
        )
        return await call.containers.create_container_file(call.caller, upload)

    async def ListContainerFiles(self, request: ListContainerFilesRequest, call: Call) -> ListContainerFilesResponse:
        """Return a page of a container's files."""
        return await call.containers.list_container_files(call.caller, request)

    async def RetrieveContainerFile(self, request: RetrieveContainerFileRequest, call: Call) -> ContainerFile:
        """Return a container file."""
        return await call.containers.retrieve_container_file(call.caller, request)

    async def RetrieveContainerFileContent(self, request: RetrieveContainerFileContentRequest, call: Call) -> None:
        """Write the content of a container file."""
        await send_content(partial(call.containers.retrieve_container_file_content, call.caller), request, call)

    async def DeleteContainerFile(self, request: DeleteContainerFileRequest, call: Call) -> DeleteContainerFileResponse:
        """Delete a container file, over REST only if its ETag matches If-Match."""
        ask = RetrieveContainerFileContentRequest(container_id=request.container_id, file_id=request.file_id, length=0)
        await require_etag(lambda: call.containers.retrieve_container_file_content(call.caller, ask), call)
        return await call.containers.delete_container_file(call.caller, request)
