"""Envoy's side of the transport over HTTP/1.1, byte for byte."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    """A response: its status, its headers, the messages in it, and its trailers."""

    status: int
    headers: Mapping[str, str]
    messages: list[bytes] = field(default_factory=list)
    trailers: Mapping[str, str] = field(default_factory=dict)

    @property
    def grpc_status(self) -> int:
        """The status of the call, in the headers or in the trailers."""
        return int({**self.headers, **self.trailers}["grpc-status"])


def framed(message: bytes, *, is_compressed: bool = False) -> bytes:
    """Return a message of gRPC with its prefix."""
    return bytes([is_compressed]) + len(message).to_bytes(4, "big") + message


def chunked(*parts: bytes) -> bytes:
    """Return a complete body in these chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"


def head(path: str, *headers: str, method: str = "POST", version: str = "1.1") -> bytes:
    """Return the head of a request with a body in chunks."""
    lines = [f"{method} {path} HTTP/{version}", "host: berth", "content-type: application/grpc", *headers]
    return "\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode("latin-1")


def request(path: str, *messages: bytes, headers: tuple[str, ...] = ()) -> bytes:
    """Return a complete request with one chunk for all messages."""
    return head(path, *headers) + chunked(b"".join(map(framed, messages)))


class Line:
    """A connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> "Line":
        """Connect."""
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def ask(self, data: bytes) -> Answer:
        """Send `data` and return the next response."""
        self.writer.write(data)
        return await self.answer()

    async def answer(self) -> Answer:
        """Return the next response."""
        async with asyncio.timeout(SECONDS):
            first, headers = await self._head()
            status = int(first.split()[1])
            if "content-length" in headers:
                return Answer(status, headers)
            body, trailers = await self._chunks()
        return Answer(status, headers, _messages(body), trailers)

    async def is_closed(self) -> bool:
        """Return whether the service closes the connection without sending more."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def _head(self) -> tuple[str, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        return lines[0], _fields(lines[1:])

    async def _chunks(self) -> tuple[bytes, dict[str, str]]:
        body = b""
        while size := int((await self.reader.readuntil(b"\r\n")), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        trailers = []
        while (line := await self.reader.readline()) != b"\r\n":
            trailers.append(line.decode("ascii").rstrip("\r\n"))
        return body, _fields(trailers)


def _fields(lines: list[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines if line)


def _messages(body: bytes) -> list[bytes]:
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        found.append(body[5 : 5 + size])
        body = body[5 + size :]
    return found
