"""A provider that misbehaves on purpose: HTTP/1.1 by hand on a loopback socket, to any letter and at any pace.

It does what its script says, one behaviour for each call and the last one for
all that follow, and it keeps what it received.
"""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from urllib.parse import urlsplit

_LINGER_NOT = struct.pack("ii", 1, 0)  # what is closed with this is reset
_PIECE = b" " * 65_536


@dataclass(frozen=True)
class Received:
    """A call as it arrived, its body whole; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path


class Exchange:
    """A call that is being answered; `answer` is what was sent so far, as far as it is kept."""

    def __init__(self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received = received
        self.status = b""
        self._reader, self._writer = reader, writer

    async def send(self, piece: bytes) -> None:
        """Send bytes, as fast as they are taken."""
        self.status = self.status or piece[9:12]
        self._writer.write(piece)
        await self._writer.drain()

    def close(self) -> None:
        """End the connection as if all were said."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing until the caller goes away."""
        await self._reader.read()
        self._writer.close()


Behaviour = Callable[[Exchange], Awaitable[None]]


def answer(status: int, body: object, **headers: str) -> Behaviour:
    """Answer properly: with JSON, or with the very bytes that are given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return stream(head(status, content_length=str(len(content)), **headers) + content)


def head(status: int, **headers: str) -> bytes:
    """Return the head of an answer; headers are named as in Python, `content_type` is JSON unless given."""
    told = {"content_type": "application/json"} | headers
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def stream(*pieces: bytes) -> Behaviour:
    """Send pieces and leave the connection open for the next call."""

    async def behave(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)

    return behave


def cut(*pieces: bytes) -> Behaviour:
    """Send pieces and close the connection, whatever was promised."""
    return _then(Exchange.close, pieces)


def reset(*pieces: bytes) -> Behaviour:
    """Send pieces and break the connection."""
    return _then(Exchange.reset, pieces)


def hang(*pieces: bytes) -> Behaviour:
    """Send pieces and then nothing more, until the caller goes away."""

    async def behave(exchange: Exchange) -> None:
        await stream(*pieces)(exchange)
        await exchange.hang()

    return behave


def drip(content: bytes, *, at_once: int, seconds: float) -> Behaviour:
    """Send so many bytes at once, and then one byte after the other, with a pause of `seconds` before each."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(content[:at_once])
        for byte in content[at_once:]:
            await asyncio.sleep(seconds)
            await exchange.send(bytes([byte]))

    return behave


def flood(start: bytes, piece: bytes = _PIECE) -> Behaviour:
    """Send a beginning, and then a piece, white space unless it is given, for as long as it is taken."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(start)
        while True:
            await exchange.send(piece)

    return behave


def _then(end: Callable[[Exchange], None], pieces: tuple[bytes, ...]) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await stream(*pieces)(exchange)
        end(exchange)

    return behave


class Misbehaving:
    """The server: where it is, what it received, how many calls it is answering, and what it made.

    `creates` counts the calls that may have made a container: those that were
    not answered with a 4xx.
    """

    def __init__(self, script: tuple[Behaviour, ...], scheme: str) -> None:
        self.calls: list[Received] = []
        self.creates = 0
        self.answering = 0
        self.url = ""
        self._script, self._scheme = script, scheme
        self._tasks: set[asyncio.Task[None]] = set()

    def listen_on(self, port: int) -> None:
        """Take note of the port."""
        self.url = f"{self._scheme}://127.0.0.1:{port}"

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the calls of a connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # A task that ends cancelled is an error to asyncio's streams; it is `leave` that cancels.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while not writer.is_closing():
                    await self._answer(Exchange(await _received(reader), reader, writer))
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, exchange: Exchange) -> None:
        behaviour = self._script[min(len(self.calls), len(self._script) - 1)]
        self.calls.append(exchange.received)
        self.answering += 1
        try:
            await behaviour(exchange)
        finally:
            self.answering -= 1
            is_create = (exchange.received.method, exchange.received.path.count("/files")) == ("POST", 0)
            self.creates += is_create and not exchange.status.startswith(b"4")

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    async def leave(self) -> None:
        """End all that goes on."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def misbehaving(*script: Behaviour, tls: SSLContext | None = None) -> AsyncIterator[Misbehaving]:
    """Run the server on a port that the system chooses."""
    server = Misbehaving(script, "https" if tls else "http")
    listening = await asyncio.start_server(server.meet, "127.0.0.1", 0, ssl=tls)
    server.listen_on(listening.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listening.close()
        await server.leave()
        await listening.wait_closed()


@contextmanager
def refusing() -> Iterator[str]:
    """Hold a port that nobody listens on; give its URL."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


async def _received(reader: asyncio.StreamReader) -> Received:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    fields = (line.partition(":") for line in lines[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    if headers.get("transfer-encoding") == "chunked":
        return Received(method, target, headers, b"".join([chunk async for chunk in _chunks(reader)]))
    return Received(method, target, headers, await reader.readexactly(int(headers.get("content-length", 0))))


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
