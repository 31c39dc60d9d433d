"""Send a download: its headers and its content, over REST also a part of it as HTTP defines."""

import re
from collections.abc import Awaitable, Callable
from copy import deepcopy
from email.utils import formatdate
from http import HTTPStatus
from typing import Generic, TypeVar
from urllib.parse import quote

from google.api.httpbody_pb2 import HttpBody

from berth.core.errors import InvalidRequestError, PreconditionFailedError, RangeNotSatisfiableError
from berth.core.ports.backend import Content
from berth.rpc.bodies.conditions import (
    IF_MATCH,
    ByteRange,
    allows_range,
    is_unchanged,
    read_range,
    require_match,
)
from berth.rpc.call import HTTP_STATUS, Call
from berth.rpc.transports.context import Headers
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.file_service_pb2 import RetrieveFileContentRequest

_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')
R = TypeVar("R", bound=RetrieveContainerFileContentRequest | RetrieveFileContentRequest)


async def send_content(open_content: Callable[[R], Awaitable[Content]], request: R, call: Call) -> None:
    """Write the content of a file. The first message has the media type, and is sent for an empty file, too.

    `open_content` opens what a request asks for. The first bytes are read before anything is sent,
    so that an error while reading them can still be reported like any other.
    """
    content, part = await _ContentOpener(open_content, request, call).open()
    try:
        call.provider = content.provider
        if call.head.is_rest and is_unchanged(call.head.conditions, content):
            await _send_unchanged(content, call)
        else:
            await _send(content, part, call)
    finally:
        content.close()


async def require_etag(open_content: Callable[[], Awaitable[Content]], call: Call) -> None:
    """Raise PreconditionFailedError if a REST caller's If-Match does not match the file's ETag."""
    if call.head.is_rest and IF_MATCH in call.head.conditions:
        content = await open_content()
        content.close()
        require_match(call.head.conditions, content)


class _ContentOpener(Generic[R]):
    """Opens a file, or the part of it that a REST caller's headers ask for.

    If-Match is checked before the range (RFC 9110, section 13.2.2).
    """

    def __init__(self, open_content: Callable[[R], Awaitable[Content]], request: R, call: Call) -> None:
        self._open_content = open_content
        self._request = request
        self._call = call

    async def open(self) -> tuple[Content, ByteRange | None]:
        """Return the content to send and its range; the range is None unless the headers ask for one.

        PreconditionFailedError if If-Match does not match, RangeNotSatisfiableError for a range
        without any byte.
        """
        call, request = self._call, self._request
        asked = None
        if call.head.is_rest and not (request.HasField("offset") or request.HasField("length")):
            asked = read_range(call.head.conditions)
        if asked is None:
            return await self._open(request), None
        content, part = await self._open_range(asked)
        if is_unchanged(call.head.conditions, content):
            return content, None
        if part is None or not allows_range(call.head.conditions, content):
            content.close()
            return await self._open(request), None
        if content.length == 0:
            content.close()
            raise RangeNotSatisfiableError(content.size)
        return content, part

    async def _open_range(self, asked: ByteRange) -> tuple[Content, ByteRange | None]:
        """Open a range of the file; nothing of the file if the range has no byte.

        The returned range is None if the provider does not say enough to determine it.
        """
        if asked.first is None:
            content = await self._open(self._part(0, 0))
            if content.size is None:
                return content, None
            content.close()
            asked = ByteRange(max(0, content.size - (asked.last or 0)), None)
        first, last = asked.first or 0, asked.last
        try:
            content = await self._open(self._part(first, None if last is None else last - first + 1))
        except InvalidRequestError as error:
            if error.param != "offset":
                raise
        else:
            if content.length != 0:
                return content, None if content.length is None else asked
            content.close()  # a provider that sends nothing does not describe the file either
        return await self._open(self._part(0, 0)), asked

    async def _open(self, request: R) -> Content:
        content = await self._open_content(request)
        if self._call.head.is_rest:
            try:
                require_match(self._call.head.conditions, content)
            except PreconditionFailedError:
                content.close()
                raise
        return content

    def _part(self, offset: int, length: int | None) -> R:
        part = deepcopy(self._request)
        part.offset = offset
        if length is not None:
            part.length = length
        return part


async def _send(content: Content, part: ByteRange | None, call: Call) -> None:
    described = HttpBody(content_type=content.content_type)
    headers = content_headers(content)
    if part is not None:
        headers += _range_headers(content, part)
    first = b"" if call.head.is_head else await anext(content.chunks, b"")
    await call.send_headers(headers)
    await call.write(described)
    if first:
        await _write(first, call)
        async for chunk in content.chunks:
            await _write(chunk, call)


async def _write(chunk: bytes, call: Call) -> None:
    """Write a part of the content, in pieces that the transport can take."""
    size = call.context.piece_bytes
    for start in range(0, len(chunk), size):
        await call.write(HttpBody(data=chunk[start : start + size]))


async def _send_unchanged(content: Content, call: Call) -> None:
    """Report that the caller already has the file (304), with the headers that identify it."""
    names = {"etag", "last-modified"}
    headers = [(name, value) for name, value in content_headers(content) if name in names]
    await call.send_headers([*headers, (HTTP_STATUS, str(HTTPStatus.NOT_MODIFIED.value))])
    await call.write(HttpBody(content_type=content.content_type))


def content_headers(content: Content) -> Headers:
    """Return the headers that describe the content, except its type."""
    headers = [
        ("content-disposition", content_disposition(content.filename)),
        ("accept-ranges", "bytes"),
        # The type comes from the uploader, so browsers must not guess another one.
        ("x-content-type-options", "nosniff"),
        # Even if a browser shows the file, nothing in it runs or reaches the origin of the API.
        ("content-security-policy", "default-src 'none'; sandbox"),
    ]
    if content.length is not None:
        headers.append(("x-content-length", str(content.length)))
    if content.etag is not None:
        headers.append(("etag", content.etag))
    if content.sha256 is not None:
        headers.append(("x-content-sha256", content.sha256))
    if content.modified_at is not None:
        headers.append(("last-modified", formatdate(content.modified_at, usegmt=True)))
    return headers


def _range_headers(content: Content, part: ByteRange) -> Headers:
    """Return the headers that say which part of the file follows."""
    first, size = part.first or 0, "*" if content.size is None else content.size
    return [
        (HTTP_STATUS, str(HTTPStatus.PARTIAL_CONTENT.value)),
        ("content-range", f"bytes {first}-{first + (content.length or 0) - 1}/{size}"),
    ]


def content_disposition(filename: str) -> str:
    """Return the header that saves a download under `filename` (RFC 6266).

    A name that is not plain ASCII is given twice: with underscores, which every client can read, and
    exactly, in the notation of RFC 8187.
    """
    plain = _NOT_PLAIN.sub("_", filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"
