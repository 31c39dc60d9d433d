"""A download: its headers, its bytes, and over REST the part of them that HTTP asks for."""

import re
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import quote

from google.api.httpbody_pb2 import HttpBody

from berth.core.backend import Content
from berth.core.errors import InvalidRequestError, RangeNotSatisfiableError
from berth.rpc.bodies.conditions import (
    IF_MATCH,
    IF_RANGE,
    ByteRange,
    allows_range,
    is_unchanged,
    read_range,
    require_match,
)
from berth.rpc.call import HTTP_STATUS, Call, Headers
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.file_service_pb2 import RetrieveFileContentRequest

_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')
R = TypeVar("R", RetrieveContainerFileContentRequest, RetrieveFileContentRequest)


class Source(NamedTuple, Generic[R]):
    """A file to download: `open` opens what a request asks for, and `size` looks up how large the whole is."""

    open: Callable[[R], Awaitable[Content]]
    size: Callable[[], Awaitable[int]]


async def send_content(source: Source[R], request: R, call: Call) -> None:
    """Write the bytes of a file, the first message with their type, also when there are none.

    The first bytes are awaited before anything is sent: what goes wrong with
    them can still be an error like any other.
    """
    wanted = None
    if call.is_rest and not (request.HasField("offset") or request.HasField("length")):
        wanted = read_range(call.conditions)
    if wanted is not None and IF_RANGE in call.conditions:
        wanted = await _unless_changed(source, request, wanted, call)
    content = await _opened(source, request, wanted)
    try:
        call.provider = content.provider
        if call.is_rest:
            require_match(call.conditions, content)
        if call.is_rest and is_unchanged(call.conditions, content):
            await _send_unchanged(content, call)
        else:
            await _send(content, wanted, call)
    finally:
        content.close()


async def require_etag(open_content: Callable[[], Awaitable[Content]], call: Call) -> None:
    """Raise PreconditionFailedError if a REST caller says which ETag a file must have, and it has another."""
    if call.is_rest and IF_MATCH in call.conditions:
        content = await open_content()
        content.close()
        require_match(call.conditions, content)


async def _unless_changed(source: Source[R], request: R, wanted: ByteRange, call: Call) -> ByteRange | None:
    """Return the range that is `wanted` if the file is the one that If-Range names; None, for the whole, if not."""
    content = await source.open(request)
    content.close()
    return wanted if allows_range(call.conditions, content) else None


async def _opened(source: Source[R], request: R, wanted: ByteRange | None) -> Content:
    """Open the range that is `wanted`, or what the request asks for. RangeNotSatisfiableError for an empty range."""
    if wanted is None:
        return await source.open(request)
    if wanted.first is None:
        size = await source.size()
        wanted = ByteRange(max(0, size - (wanted.last or 0)), None)
        if wanted.first == size:
            raise RangeNotSatisfiableError(size)
    part = type(request)()
    part.CopyFrom(request)
    part.offset = wanted.first or 0
    if wanted.last is not None:
        part.length = wanted.last - part.offset + 1
    try:
        content = await source.open(part)
    except InvalidRequestError as error:
        if error.param != "offset":
            raise
        raise RangeNotSatisfiableError(await source.size()) from None
    if content.length == 0:
        content.close()
        raise RangeNotSatisfiableError(content.size or 0, provider=None)
    return content


async def _send(content: Content, wanted: ByteRange | None, call: Call) -> None:
    headers = content_headers(content)
    if wanted is not None:
        headers += _partial(content, wanted)
    first = b"" if call.is_head else await anext(content.chunks, b"")
    await call.send_headers(headers)
    await call.write(HttpBody(content_type=content.content_type))
    if first:
        await call.write(HttpBody(data=first))
        async for chunk in content.chunks:
            await call.write(HttpBody(data=chunk))


async def _send_unchanged(content: Content, call: Call) -> None:
    """Say that the caller has the file already (304), with the headers that let it go on knowing that."""
    kept = {"etag", "last-modified"}
    headers = [(name, value) for name, value in content_headers(content) if name in kept]
    await call.send_headers([*headers, (HTTP_STATUS, str(HTTPStatus.NOT_MODIFIED.value))])
    await call.write(HttpBody(content_type=content.content_type))


def content_headers(content: Content) -> Headers:
    """Return what describes the bytes that follow, besides their type."""
    headers = [
        ("content-disposition", content_disposition(content.filename)),
        ("accept-ranges", "bytes"),
        # The type is the uploader's word; no browser may see more in it.
        ("x-content-type-options", "nosniff"),
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


def _partial(content: Content, wanted: ByteRange) -> Headers:
    """Return the headers that say which part of the file follows, as far as its length is known."""
    size = "*" if content.size is None else str(content.size)
    if content.length is None:
        return []
    first = wanted.first if wanted.first is not None else (content.size or 0) - content.length
    return [
        (HTTP_STATUS, str(HTTPStatus.PARTIAL_CONTENT.value)),
        ("content-range", f"bytes {first}-{first + content.length - 1}/{size}"),
    ]


def content_disposition(filename: str) -> str:
    """Return the header that saves a download under `filename` (RFC 6266).

    A name that is not plain ASCII is given twice: readable by everything, with
    underscores, and exactly, in the notation of RFC 8187.
    """
    plain = _NOT_PLAIN.sub("_", filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"
