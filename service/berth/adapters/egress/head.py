"""Heads of requests: read within bounds, and refused if two programs could read them differently."""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import NamedTuple

import h11

from berth.adapters.egress.hosts import Target, read_authority
from berth.adapters.egress.refusals import AnswerError, bad_request
from berth.adapters.egress.sockets import CHUNK, Channel

MAX_HEAD_BYTES = 32_768
"""Twice what large cookies and signed URLs need."""
MAX_HEAD_LINES = 128
"""Reading a header costs time, and 32 KiB have room for 8000."""
HTTP_PORT = 80
_END = b"\r\n\r\n"
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0|\r\n[ \t]")
"""Line breaks that some servers take for the end of a line and others do not, NUL, and continued lines."""
_ABSOLUTE = re.compile(r"http://(?P<authority>[^/?#]*)(?P<path>[/?][^#]*)?", re.IGNORECASE)
_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te")
) | {b"trailer", b"transfer-encoding", b"upgrade"}
_VERSIONS = (b"1.0", b"1.1")
_FRAMING = frozenset((b"content-length", b"host"))
"""What `Connection` must not have removed: others would then find another end of the request."""
Headers = list[tuple[bytes, bytes]]


class Head(NamedTuple):
    """The head of a request, the parser that has read it, and what came after it."""

    request: h11.Request
    parser: h11.Connection
    rest: bytes


class Destination(NamedTuple):
    """Where a request is to go; `path` is None if a tunnel is asked for."""

    target: Target
    path: bytes | None


async def read_head(client: Channel) -> Head | None:
    """Return the head of the request, None if there is none. AnswerError if it is refused."""
    data = bytearray()
    while (end := data.find(_END, max(0, len(data) - CHUNK - len(_END)))) < 0:
        if len(data) > MAX_HEAD_BYTES:
            raise _too_large()
        received = await client.receive()
        if not received:
            return None
        data += received
    end += len(_END)
    if end > MAX_HEAD_BYTES or data.count(b"\n", 0, end) > MAX_HEAD_LINES:
        raise _too_large()
    if _AMBIGUOUS.search(data, 0, end):
        raise bad_request("it has a line break, a continued line or a NUL that is not allowed")
    parser = h11.Connection(h11.SERVER)
    return Head(_parse(parser, bytes(data[:end])), parser, bytes(data[end:]))


def _parse(parser: h11.Connection, data: bytes) -> h11.Request:
    parser.receive_data(data)
    try:
        request = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise bad_request(str(error)) from None
    if not isinstance(request, h11.Request):
        raise bad_request("it has no request line")
    if request.http_version not in _VERSIONS:
        raise bad_request("it is neither HTTP/1.1 nor HTTP/1.0")
    names = [name for name, _ in request.headers]
    has_coding = b"transfer-encoding" in names
    if has_coding and (b"content-length" in names or request.http_version != b"1.1"):
        raise bad_request("its length is given twice")
    if request.method == b"CONNECT" and (has_coding or b"content-length" in names):
        raise bad_request("CONNECT has no body")
    return request


def read_destination(request: h11.Request) -> Destination:
    """Return where a request is to go. AnswerError if that cannot be told."""
    text = request.target.decode("ascii", errors="replace")
    if request.method == b"CONNECT":
        target = read_authority(text)
        if target is None:
            raise bad_request("CONNECT needs a host and a port")
        return Destination(target, None)
    found = _ABSOLUTE.fullmatch(text)
    target = read_authority(found["authority"], default_port=HTTP_PORT) if found else None
    if found is None or target is None:
        raise bad_request(
            "this is a proxy: it needs the whole URL, with http:// and without a user; use CONNECT for TLS"
        )
    path = found["path"] or "/"
    return Destination(target, (path if path.startswith("/") else f"/{path}").encode())


def request_headers(request: h11.Request, target: Target) -> Headers:
    """Return the headers for the server: `Host` is that of the URL, and the connection is for this request alone."""
    host = target.host if target.port == HTTP_PORT else str(target)
    headers = [(b"host", host.encode()), *_end_to_end(request.headers, without=b"host")]
    if any(name == b"transfer-encoding" for name, _ in request.headers):
        headers.append((b"transfer-encoding", b"chunked"))
    return [*headers, (b"connection", b"close")]


def response_headers(response: h11.Response | h11.InformationalResponse) -> Headers:
    """Return the headers for the command. The parser adds how the body ends."""
    is_chunked = any(name == b"transfer-encoding" for name, _ in response.headers)
    return list(_end_to_end(response.headers, without=b"content-length" if is_chunked else b""))


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], *, without: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers that are not for this connection alone."""
    headers = list(headers)
    named = {
        token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")
    } - _FRAMING
    for name, value in headers:
        if name not in _HOP_BY_HOP and name not in named and name != without:
            yield name, value


def _too_large() -> AnswerError:
    return AnswerError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"The head of the request has more than {MAX_HEAD_BYTES} bytes or {MAX_HEAD_LINES} lines.",
    )
