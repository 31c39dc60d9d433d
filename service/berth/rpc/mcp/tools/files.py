"""The tools that write, read and list the files of a container."""

import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from typing import Any

from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.limits import limits_of
from berth.core.paths import ROOT, container_path
from berth.core.validation import invalid, missing
from berth.rpc.call import Call
from berth.rpc.mcp.results import picture_block, renamed, result, text_block
from berth.rpc.mcp.schemas import inputs, integer, list_of, shape, text
from berth.rpc.mcp.tools.containers import CONTAINER_ID
from berth.rpc.mcp.tools.tool import CHANGES, READS, Json, Tool, ToolCall
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    ListContainerFilesRequest,
    ListContainerFilesResponse,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

MAX_FILES = limits_of(ListContainerFilesRequest, "limit").maximum
MAX_READ_BYTES = 262_144
"""How much of a file is read at a time: it fills the context of the model."""
MAX_PICTURE_BYTES = 3 * 1024 * 1024
"""The largest picture: as base64 it has 4 MiB, and models take not much more."""
MAX_PAGES = 100
"""How many pages of files are searched for a path, of 100 files each."""
_FILE_ID = "cfile_"
_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
_RIFF, _WEBP, _WEBP_AT = b"RIFF", b"WEBP", 8
_PATH = f"The path in {ROOT}, such as 'data.csv' or '{ROOT}/data.csv'"
_FILE = {
    "path": text("The path."),
    "file_id": text("The id."),
    "bytes": integer("The size of the file."),
}


def file_tools() -> list[Tool]:
    """Return the tools for files."""
    return [
        Tool(
            "write_file",
            "Write a file",
            "Writes a file into a container; a file that has the path is replaced. Give either text or base64.",
            inputs(
                {
                    "container_id": CONTAINER_ID,
                    "path": text(f"{_PATH}; folders are made as needed."),
                    "text": text("The content, as text."),
                    "base64": text("The content in base64, for a file that is no text."),
                },
                required=["container_id", "path"],
            ),
            shape(_FILE, required=list(_FILE)),
            _write_file,
            {**CHANGES, "idempotentHint": True},
        ),
        Tool(
            "read_file",
            "Read a file",
            "Reads a file of a container: text as text, a picture (PNG, JPEG, GIF, WebP) as a picture, anything else "
            f"as base64. At most {MAX_READ_BYTES} bytes at a time, of a picture {MAX_PICTURE_BYTES}: read parts of a "
            "larger file with offset and length, or process it with run_command.",
            inputs(
                {
                    "container_id": CONTAINER_ID,
                    "path": text(f"{_PATH}; or the id of the file, which begins with '{_FILE_ID}'."),
                    "offset": integer("The first byte to read. Default: 0."),
                    "length": integer("How many bytes to read. Default: all.", minimum=1, maximum=MAX_READ_BYTES),
                },
                required=["container_id", "path"],
            ),
            shape(
                {
                    **_FILE,
                    "mime_type": text("The media type."),
                    "offset": integer("The first byte that was read."),
                    "length": integer("How many bytes were read."),
                    "text": text("The content, if it is text."),
                    "base64": text("The content in base64, if it is neither text nor a picture."),
                },
                required=[*_FILE, "mime_type", "offset", "length"],
            ),
            _read_file,
            READS,
        ),
        Tool(
            "list_files",
            "List files",
            "Lists the files of a container, the newest first.",
            inputs(
                {
                    "container_id": CONTAINER_ID,
                    "limit": integer(f"How many files to return. Default: {MAX_FILES}.", minimum=1, maximum=MAX_FILES),
                    "after": text("The last file_id of the previous page, to get the next one."),
                },
                required=["container_id"],
            ),
            shape(
                {
                    "files": list_of(
                        shape(
                            {
                                **_FILE,
                                "source": text("'user', or 'assistant' if code made it."),
                                "created_at": integer("When it was created, in seconds since 1970."),
                            },
                            required=[*_FILE, "source", "created_at"],
                        ),
                        "The files.",
                    ),
                    "has_more": {"type": "boolean", "description": "Whether there are more after these."},
                },
                required=["files", "has_more"],
            ),
            _list_files,
            READS,
        ),
    ]


@dataclass
class _Upload:
    """An Upload (see core.ports.backend) of bytes that are there."""

    container_id: str
    file_path: str
    content: bytes
    provider: Provider = PROVIDER_UNSPECIFIED
    file_id: str | None = None
    has_file: bool = True
    replaces: bool = True
    filename: str | None = None
    additional_fields: Sequence[AdditionalField] = ()

    @property
    def content_type(self) -> str | None:
        """The media type that the path suggests."""
        return guess_type(self.file_path)[0]

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes."""
        yield self.content


async def _write_file(arguments: Json, call: ToolCall) -> Json:
    content = _content(arguments)
    upload = _Upload(arguments["container_id"], _path(arguments["path"]), content)
    with renamed(file_path="path"):
        return result(_described(await call.run("CreateContainerFile", upload, _create)))


def _content(arguments: Json) -> bytes:
    """Return the content that is to be written. InvalidRequestError unless it is given once."""
    if ("text" in arguments) == ("base64" in arguments):
        raise invalid("base64", "give either text or base64, not both") if "text" in arguments else missing("text")
    if "text" in arguments:
        return str(arguments["text"]).encode()
    try:
        return base64.b64decode(arguments["base64"], validate=True)
    except (binascii.Error, ValueError):
        raise invalid("base64", "it is not base64") from None


async def _read_file(arguments: Json, call: ToolCall) -> Json:
    file = await _find(arguments["container_id"], arguments["path"], call)
    offset, length = arguments.get("offset", 0), arguments.get("length")
    content = await _read(file, offset, length, call)
    described = {
        **_described(file),
        "mime_type": guess_type(file.path)[0] or "application/octet-stream",
        "offset": offset,
        "length": len(content),
    }
    kind = _picture_type(content)
    if kind and len(content) == file.bytes:
        return result({**described, "mime_type": kind}, picture_block(_base64(content), kind))
    if len(content) > MAX_READ_BYTES:
        raise _too_large(file)
    read = _as_text(content, is_part=len(content) != file.bytes)
    if read is None:
        return result({**described, "base64": _base64(content)})
    return result({**described, "length": len(read.encode()), "text": read}, text_block(read))


async def _read(file: ContainerFile, offset: int, length: int | None, call: ToolCall) -> bytes:
    """Return a part of a file. InvalidRequestError if the model must ask for a smaller one."""
    is_picture = (guess_type(file.path)[0] or "").startswith("image/") and length is None
    maximum = MAX_PICTURE_BYTES if is_picture else MAX_READ_BYTES
    if length is None and file.bytes - offset > maximum:
        raise _too_large(file)
    request = RetrieveContainerFileContentRequest(container_id=file.container_id, file_id=file.id)
    if offset:
        request.offset = offset
    if length is not None:
        request.length = length
    content = await call.run("RetrieveContainerFileContent", request, _gather)
    if len(content) > maximum:
        raise _too_large(file)
    return content


def _too_large(file: ContainerFile) -> InvalidRequestError:
    message = (
        f"The file has {file.bytes} bytes, but at most {MAX_READ_BYTES} can be read at a time, of a picture "
        f"{MAX_PICTURE_BYTES}. Read a part with offset and length, or process the file with run_command or run_python."
    )
    return InvalidRequestError(message, param="path", code="file_too_large")


def _picture_type(content: bytes) -> str | None:
    if content.startswith(_RIFF) and content[_WEBP_AT : _WEBP_AT + len(_WEBP)] == _WEBP:
        return "image/webp"
    return next((kind for signature, kind in _PICTURES.items() if content.startswith(signature)), None)


def _as_text(content: bytes, *, is_part: bool) -> str | None:
    """Return the content if it is text, of a part without a character that is cut off at its end; else None."""
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        is_cut_off = is_part and error.reason == "unexpected end of data" and error.start
        return content[: error.start].decode() if is_cut_off else None


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def _list_files(arguments: Json, call: ToolCall) -> Json:
    request = ListContainerFilesRequest(**{"limit": MAX_FILES, **arguments})
    page = await call.run("ListContainerFiles", request, _list)
    found = [{**_described(file), "source": file.source, "created_at": file.created_at} for file in page.data]
    return result({"files": found, "has_more": page.has_more})


async def _find(container_id: str, path: str, call: ToolCall) -> ContainerFile:
    """Return the file with a path or an id. NotFoundError if there is none."""
    if path.startswith(_FILE_ID) and "/" not in path:
        request = RetrieveContainerFileRequest(container_id=container_id, file_id=path)
        return await call.run("RetrieveContainerFile", request, _retrieve)
    wanted = _path(path)

    async def search(request: Any, inner: Call) -> ContainerFile:
        for _ in range(MAX_PAGES):
            page = await _list(request, inner)
            found = next((file for file in page.data if file.path == wanted), None)
            if found is not None:
                return found
            if not page.has_more:
                break
            request.after = page.last_id
        raise NotFoundError(f"There is no file {wanted} in the container.", reason="container_file_not_found")

    return await call.run(
        "ListContainerFiles", ListContainerFilesRequest(container_id=container_id, limit=MAX_FILES), search
    )


def _path(path: str) -> str:
    with renamed(file_path="path"):
        return container_path(path, "", unique="")


def _described(file: ContainerFile) -> Json:
    return {"path": file.path, "file_id": file.id, "bytes": file.bytes}


async def _create(upload: Any, call: Call) -> ContainerFile:
    return await call.containers.create_container_file(call.caller, upload)


async def _list(request: Any, call: Call) -> ListContainerFilesResponse:
    return await call.containers.list_container_files(call.caller, request)


async def _retrieve(request: Any, call: Call) -> ContainerFile:
    return await call.containers.retrieve_container_file(call.caller, request)


async def _gather(request: Any, call: Call) -> bytes:
    """Return the content of a file, as far as one byte beyond the largest picture."""
    content = await call.containers.retrieve_container_file_content(call.caller, request)
    gathered = bytearray()
    try:
        async for chunk in content.chunks:
            gathered += chunk
            if len(gathered) > MAX_PICTURE_BYTES:
                break
    finally:
        content.close()
    return bytes(gathered)
