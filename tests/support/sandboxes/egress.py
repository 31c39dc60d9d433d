"""The egress proxy for tests: a session on a Unix socket, servers that keep what they get, raw clients."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from berth.adapters.egress.addresses import Reach
from berth.adapters.egress.connector import Shared
from berth.adapters.egress.hosts import plain_domains
from berth.adapters.egress.session import Rules, Session
from berth.launch.private_folder import short_path

LOOPBACK = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
NAMES: Mapping[str, Sequence[str]] = {"allowed.example": [LOOPBACK]}


@dataclass
class Server:
    """A server on loopback that answers each connection with `answer`; `got` is what arrived, one item a connection."""

    port: int = 0
    answer: bytes = OK
    got: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def server(answer: bytes = OK) -> AsyncIterator[Server]:
    """Run a Server; it reads until the head and as much body as the head announces have come."""
    running = Server(answer=answer)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.got.append(b"")
        number = len(running.got) - 1
        while not _is_whole(running.got[number]):
            data = await reader.read(65_536)
            if not data:
                break
            running.got[number] += data
        writer.write(running.answer)
        writer.close()

    async with await asyncio.start_server(serve, LOOPBACK, 0) as listening:
        running.port = listening.sockets[0].getsockname()[1]
        yield running


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return bool(end) and len(body) >= length


@dataclass
class Proxied:
    """A session of the proxy and what it refused; `looked_up` are the names that it asked for."""

    path: Path
    session: Session
    refusals: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    async def ask(self, request: bytes) -> bytes:
        """Send bytes and return all that comes back."""
        return await ask(self.path, request)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the proxy."""
        return await connect(self.path)


async def ask(path: Path, request: bytes) -> bytes:
    """Send bytes to the proxy at a path, and return all that comes back."""
    reader, writer = await connect(path)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the proxy at a path."""
    with short_path(path) as name:
        return await asyncio.open_unix_connection(name)


@asynccontextmanager
async def proxied(
    folder: Path,
    *,
    ports: Sequence[int] = (80, 443),
    domains: Sequence[str] = ("allowed.example",),
    opened: Sequence[str] = (f"{LOOPBACK}/32",),
    names: Mapping[str, Sequence[str]] = NAMES,
    max_bytes: int = 1 << 30,
    reach: Reach | None = None,
    shared: Shared | None = None,
    **rules: Any,
) -> AsyncIterator[Proxied]:
    """Run a session; `names` are those that can be resolved."""
    path = folder / "proxy"
    made = Rules(frozenset(ports), reach or Reach([ip_network(one) for one in opened]), max_bytes, **rules)

    def look_up(host: str, _: int) -> Sequence[str]:
        running.looked_up.append(host)
        if host not in names:
            raise OSError(host)
        return names[host]

    refusals: list[str] = []
    shared = shared or Shared()
    session = Session(made, plain_domains(domains), refusals.append, look_up=look_up, shared=shared)
    running = Proxied(path, session, refusals)
    with socket.socket(socket.AF_UNIX) as listener:
        with short_path(path) as name:
            listener.bind(name)
        listener.listen(256)
        listener.setblocking(False)
        serving = asyncio.create_task(session.serve(listener))
        try:
            yield running
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            path.unlink()
