"""HTTP/2 by hand, for what gRPC's own clients neither send nor show."""

import asyncio
import struct

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS = 1, 4
_ACK, _INITIAL_WINDOW = 1, 4


async def raw_call(port: int, path: str | bytes, *headers: tuple[bytes, bytes], message: bytes = b"") -> bytes:
    """Send a unary call with any bytes as headers, each shorter than 127; return the frames that answer it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    fields = _fields(path.encode() if isinstance(path, str) else path, *headers)
    writer.write(_PREFACE + _frame(_SETTINGS, 0, b""))
    writer.write(_frame(_HEADERS, _END_HEADERS, b"".join(_literal(*field) for field in fields)))
    writer.write(_frame(_DATA, _END_STREAM, b"\0" + struct.pack(">I", len(message)) + message))
    async with asyncio.timeout(30):
        answer = await _answer(reader)
    writer.close()
    await writer.wait_closed()
    return answer


def beginning(*, acknowledges: bool) -> bytes:
    """Return the beginning of a connection, with or without what acknowledges the other side's settings."""
    return _PREFACE + _frame(_SETTINGS, 0, b"") + (_frame(_SETTINGS, _ACK, b"") if acknowledges else b"")


def unread_gets(path: str, count: int, *headers: tuple[bytes, bytes]) -> bytes:
    """Return what sends requests of a client that takes no byte of their answers' bodies."""
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"b"), *headers]
    block = b"".join(_literal(*field) for field in fields)
    requests = (_frame(_HEADERS, _END_HEADERS | _END_STREAM, block, 2 * number + 1) for number in range(count))
    return _NO_WINDOW + b"".join(requests)


def reset_gets(path: str, count: int) -> bytes:
    """Return what sends requests of a stranger who resets each at once."""
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"b")]
    block, cancelled = b"".join(_literal(*field) for field in fields), struct.pack(">I", 8)
    requests = (
        _frame(_HEADERS, _END_HEADERS | _END_STREAM, block, stream) + _frame(_RESET, 0, cancelled, stream)
        for stream in range(1, 2 * count, 2)
    )
    return _PREFACE + _frame(_SETTINGS, 0, b"") + b"".join(requests)


def unread_calls(path: str, message: bytes, count: int, *headers: tuple[bytes, bytes]) -> bytes:
    """Return what sends calls of gRPC of a client that takes no byte of their answers' messages."""
    block = b"".join(_literal(*field) for field in _fields(path.encode(), *headers))
    body = b"\0" + len(message).to_bytes(4) + message
    calls = (
        _frame(_HEADERS, _END_HEADERS, block, stream) + _frame(_DATA, _END_STREAM, body, stream)
        for stream in range(1, 2 * count, 2)
    )
    return _NO_WINDOW + b"".join(calls)


def _fields(path: bytes, *headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a call of gRPC."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"berth"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *headers,
    ]


async def _answer(reader: asyncio.StreamReader) -> bytes:
    answer, ended = b"", False
    while not ended:
        head = await reader.readexactly(9)
        kind, flags = head[3], head[4]
        answer += await reader.readexactly(int.from_bytes(head[:3]))
        ended = kind == _RESET or (kind in {_DATA, _HEADERS} and bool(flags & _END_STREAM))
    return answer


def _literal(name: bytes, value: bytes) -> bytes:
    """Return a header field as it stands, outside the table of known ones (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _frame(kind: int, flags: int, payload: bytes, stream: int = 1) -> bytes:
    stream = 0 if kind == _SETTINGS else stream
    return len(payload).to_bytes(3) + bytes([kind, flags]) + struct.pack(">I", stream) + payload


_NO_WINDOW = _PREFACE + _frame(_SETTINGS, 0, struct.pack(">HI", _INITIAL_WINDOW, 0)) + _frame(_SETTINGS, _ACK, b"")
"""The beginning of a connection of a client that takes no byte of a body."""
