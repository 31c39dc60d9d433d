"""The bytes of responses."""

from base64 import b64encode
from http import HTTPStatus
from urllib.parse import quote

from grpc import StatusCode

from berth.rpc.transports.context import MAX_MESSAGE_BYTES, Metadata
from berth.rpc.transports.http1.messages import PREFIX_BYTES, too_large

_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
_EMPTY = b"content-length: 0\r\n\r\n"
_CLOSE = b"connection: close\r\n"
_LAST_CHUNK = b"0\r\n"
_END = b"\r\n"
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_BINARY = "-bin"


def head(headers: Metadata, *, closes: bool) -> bytes:
    """Return the head of a response with messages: in chunks, because Envoy cuts JSON to the length of a gRPC body."""
    return b"".join((_OK, _lines(headers), _CLOSE if closes else b"", _CHUNKED))


def chunk(message: bytes) -> bytes:
    """Return a message as a chunk. MessageError if it is too large."""
    size = len(message)
    if size > MAX_MESSAGE_BYTES:
        raise too_large("Sent", size)
    return b"".join((b"%x\r\n\0" % (size + PREFIX_BYTES), size.to_bytes(4), message, _END))


def trailers(status: StatusCode, message: str = "", metadata: Metadata = ()) -> bytes:
    """Return the end of a response."""
    return b"".join((_LAST_CHUNK, _status(status, message), _lines(metadata), _END))


def only_trailers(status: StatusCode, message: str, metadata: Metadata, *, closes: bool) -> bytes:
    """Return a response that is only a status: all of it is in the head, as in gRPC over HTTP/2."""
    return b"".join((_OK, _status(status, message), _lines(metadata), _CLOSE if closes else b"", _EMPTY))


def plain(status: HTTPStatus) -> bytes:
    """Return the response to a request that is not one of gRPC."""
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() + _CLOSE + _EMPTY


def _status(status: StatusCode, message: str) -> bytes:
    code = b"grpc-status: %d\r\n" % status.value[0]
    return code + f"grpc-message: {quote(message, safe=_PRINTABLE)}\r\n".encode() if message else code


def _lines(metadata: Metadata) -> bytes:
    """Return metadata as lines. ValueError for what would not be one header."""
    return "".join([f"{name}: {_value(name, value)}\r\n" for name, value in metadata]).encode("ascii")


def _value(name: str, value: str | bytes) -> str:
    if name.endswith(_BINARY):
        return b64encode(value if isinstance(value, bytes) else value.encode()).decode()
    if not isinstance(value, str) or not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of the header {name} is not printable")
    return value
