"""Streams the requested range of a file from a provider, whether or not the provider supports ranges."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from warnings import catch_warnings, simplefilter

from aiohttp import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    ClientResponse,
    content_disposition_filename,
    parse_content_disposition,
)

from berth.adapters.upstream.errors import CONNECTION_FAILED, translated, unreadable
from berth.adapters.upstream.http.response import UpstreamResponse, timestamp
from berth.core.errors import InvalidRequestError, UpstreamError
from berth.core.paths import DEFAULT_FILENAME, clean_filename
from berth.core.ports.backend import Content
from berth.core.providers import provider_name
from berth.core.validation import check_integer, is_media_type
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.file_service_pb2 import RetrieveFileContentRequest
from berth.v1.provider_pb2 import Provider

_DEFAULT_CONTENT_TYPE = "application/octet-stream"
_PARTIAL, _BEYOND_END = 206, 416
_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.ASCII)
_SIZE = re.compile(r"\d{1,18}", re.ASCII)
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,128}"')
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_LENGTH = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a file: `length` bytes from `offset`, or all that follow if `length` is None."""

    offset: int = 0
    length: int | None = None

    @classmethod
    def of(cls, request: RetrieveContainerFileContentRequest | RetrieveFileContentRequest) -> "Span":
        """Return the range of a request. InvalidRequestError for an invalid one."""
        offset = check_integer(request.offset, "offset", minimum=0, maximum=_MAX_LENGTH)
        if not request.HasField("length"):
            return cls(offset)
        return cls(offset, check_integer(request.length, "length", minimum=0, maximum=_MAX_LENGTH))

    @property
    def headers(self) -> dict[str, str]:
        """The headers that request the range: one byte if it is empty, since HTTP has no empty ranges."""
        if not self.offset and self.length is None:
            return {}
        last = "" if self.length is None else self.offset + max(self.length, 1) - 1
        return {"Range": f"bytes={self.offset}-{last}"}


async def content_of(
    response: UpstreamResponse, span: Span, *, provider: Provider, done: Callable[[], None]
) -> Content:
    """Return the content of `span` in `response`; `done` is called once, after the last byte, on `close` or on failure.

    InvalidRequestError if `span` begins beyond the end of the file, UpstreamError
    if the provider sends another range.
    """
    name, headers, stream = provider_name(provider), response.headers, response.stream
    try:
        skip, length = _extent(response, span, provider=name)
    except BaseException:
        if stream is not None:
            stream.close()
        done()
        raise
    chunks = _Chunks(stream, skip=skip, length=length, limit=span.length, done=done, provider=name)
    if length is None:
        await chunks.read_ahead()
    given = headers.get("Content-Type", "")
    digest = headers.get("x-content-sha256", "")
    sha256 = digest if _SHA256.fullmatch(digest) else None
    etag = headers.get("ETag") or (f'"{sha256}"' if sha256 else "")
    return Content(
        provider=provider,
        filename=_filename(headers.get("Content-Disposition")),
        content_type=given if stream and is_media_type(given) else _DEFAULT_CONTENT_TYPE,
        sha256=sha256,
        length=length,
        chunks=chunks,
        close=chunks.close,
        size=_whole_size(response),
        etag=etag if _ETAG.fullmatch(etag) else None,
        modified_at=_timestamp(headers.get("Last-Modified")),
    )


def _extent(response: UpstreamResponse, span: Span, *, provider: str) -> tuple[int, int | None]:
    """Return how many bytes to skip, and how many follow after them, None if unknown."""
    if response.status == _BEYOND_END:
        return 0, _nothing_left(response, span)
    if response.status == _PARTIAL:
        return 0, _within(_partial(response, span, provider), span)
    size = _size(response.headers)
    if size is None:
        return span.offset, None if span.length != 0 else 0
    check_integer(span.offset, "offset", minimum=0, maximum=size)
    return span.offset, _within(size - span.offset, span)


def _nothing_left(response: UpstreamResponse, span: Span) -> int:
    """Return 0 if `span` begins exactly at the end of the file; raise InvalidRequestError if it begins beyond."""
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or not found[3].isdecimal():
        raise _beyond_end(span)
    check_integer(span.offset, "offset", minimum=0, maximum=int(found[3]))
    return 0


def _partial(response: UpstreamResponse, span: Span, provider: str) -> int:
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or found[1] is None or int(found[1]) != span.offset or int(found[2]) < span.offset:
        raise unreadable(provider, "with another range than was asked for")
    return int(found[2]) - span.offset + 1


def _within(available: int, span: Span) -> int:
    return available if span.length is None else min(available, span.length)


def _size(headers: Mapping[str, str]) -> int | None:
    """Return the size of a whole file; a server that streams may send it in `x-content-length`."""
    size = headers.get("Content-Length") or headers.get("x-content-length") or ""
    return int(size) if _SIZE.fullmatch(size) else None


def _whole_size(response: UpstreamResponse) -> int | None:
    """Return the size of the whole file, whatever part of it is sent; None if the provider does not send it."""
    if response.status not in {_PARTIAL, _BEYOND_END}:
        return _size(response.headers)
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[3]) if found and found[3].isdecimal() else None


def _timestamp(date: str | None) -> int | None:
    """Return the time of an HTTP date, in seconds since 1970; None if it is missing or invalid."""
    moment = None if date is None else timestamp(date)
    return None if moment is None else int(moment)


def _filename(disposition: str | None) -> str:
    """Return the filename: `filename*` if it is given, else `filename`; the default one if it is invalid."""
    with catch_warnings():  # aiohttp warns of a header that it cannot parse
        simplefilter("ignore", BadContentDispositionHeader)
        simplefilter("ignore", BadContentDispositionParam)
        _, options = parse_content_disposition(disposition)
    try:
        return clean_filename(content_disposition_filename(options))
    except InvalidRequestError:
        return DEFAULT_FILENAME


def _beyond_end(span: Span) -> InvalidRequestError:
    message = f"Invalid 'offset': the file ends before byte {span.offset}."
    return InvalidRequestError(message, param="offset", code="integer_above_max_value")


class _Chunks:
    """The bytes after the first `skip`: exactly `length` if that is known, else at most `limit`."""

    def __init__(
        self,
        stream: ClientResponse | None,
        *,
        skip: int,
        length: int | None,
        limit: int | None,
        done: Callable[[], None],
        provider: str,
    ) -> None:
        self._stream = stream
        self._skip = skip
        self._span = Span(skip)
        self._length = length
        self._left = limit if length is None else length
        self._done: Callable[[], None] | None = done
        self._provider = provider
        self._ahead = b""
        if self._left == 0:
            self.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def read_ahead(self) -> None:
        """Read up to the first byte after those to skip. InvalidRequestError if the file ends before it."""
        if self._skip:
            with suppress(StopAsyncIteration):
                self._ahead = await anext(self)

    async def __anext__(self) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
        if self._stream is None or self._left == 0:
            self.close()
            raise StopAsyncIteration
        try:
            chunk = self._counted(await self._read(self._stream))
        except BaseException:
            self.close()
            raise
        return chunk

    def close(self) -> None:
        """Release the connection; it is reused if everything was read, else closed. May be called twice."""
        if self._done is not None:
            self._done()
            self._done = None
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    async def _read(self, stream: ClientResponse) -> bytes:
        """Return the next bytes after those to skip; empty at the end."""
        with translated(self._provider):
            chunk = await stream.content.readany()
            while chunk and self._skip >= len(chunk):
                self._skip -= len(chunk)
                chunk = await stream.content.readany()
        chunk, self._skip = chunk[self._skip :], 0 if chunk else self._skip
        return chunk

    def _counted(self, chunk: bytes) -> bytes:
        if not chunk:
            self._check_end()
            raise StopAsyncIteration
        if self._left is not None:
            chunk = chunk[: self._left]
            self._left -= len(chunk)
        return chunk

    def _check_end(self) -> None:
        if self._skip:
            raise _beyond_end(self._span)
        if self._length is not None and self._left:
            message = f"Received an incomplete file from {self._provider}."
            raise UpstreamError(message, code=CONNECTION_FAILED, provider=self._provider)
