"""The handlers of FileService."""

from collections.abc import AsyncIterator
from functools import partial

from berth.rpc.bodies.downloads import require_etag, send_content
from berth.rpc.bodies.file_uploads import open_file_upload
from berth.rpc.call import Call
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import (
    CreateFileRequest,
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)


class FileHandlers:
    """Handles FileService. Each method calls the backend that admission chose and returns its response."""

    async def CreateFile(self, requests: AsyncIterator[CreateFileRequest], call: Call) -> File:
        """Store a file that is sent as a form or as raw bytes. A form may name the provider."""
        upload = await open_file_upload(requests)
        call.choose_provider(upload.provider)
        upload.provider = call.provider
        return await call.files.create_file(call.caller, upload)

    async def ListFiles(self, request: ListFilesRequest, call: Call) -> ListFilesResponse:
        """Return a page of files."""
        return await call.files.list_files(call.caller, request)

    async def RetrieveFile(self, request: RetrieveFileRequest, call: Call) -> File:
        """Return a file."""
        return await call.files.retrieve_file(call.caller, request)

    async def RetrieveFileContent(self, request: RetrieveFileContentRequest, call: Call) -> None:
        """Write the content of a file."""
        await send_content(partial(call.files.retrieve_file_content, call.caller), request, call)

    async def DeleteFile(self, request: DeleteFileRequest, call: Call) -> DeleteFileResponse:
        """Delete a file, over REST only if its ETag matches If-Match."""
        ask = RetrieveFileContentRequest(file_id=request.file_id, length=0)
        await require_etag(lambda: call.files.retrieve_file_content(call.caller, ask), call)
        return await call.files.delete_file(call.caller, request)
