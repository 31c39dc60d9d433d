"""Sockets of the proxy: read and written in small pieces, without buffers of their own."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

CHUNK = 65_536
LINGER_SECONDS, LINGER_BYTES = 2.0, 1 << 20


def unwatched(_: int) -> None:
    """Take no notice of a piece."""


class Channel:
    """One socket. `passed` is called with the size of each piece, and may raise an error to stop."""

    def __init__(self, sock: socket.socket, passed: Callable[[int], None] = unwatched) -> None:
        self._socket = sock
        self.passed = passed
        self._loop = asyncio.get_running_loop()
        self.has_sent = False

    async def receive(self) -> bytes:
        """Return what there is, at most CHUNK bytes; nothing at the end."""
        data = await self._loop.sock_recv(self._socket, CHUNK)
        self.passed(len(data))
        await asyncio.sleep(0)  # a socket that always has something would keep the loop to itself
        return data

    async def send(self, data: bytes) -> None:
        """Send all of it; it waits as long as the other end does not read."""
        if data:
            self.has_sent = True
            self.passed(len(data))
            await self._loop.sock_sendall(self._socket, data)

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End both directions at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def linger(self) -> None:
        """Read and drop a little of what is still coming: closing at once would destroy an answer on its way."""
        self.finish()
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while left > 0 and (data := await self._loop.sock_recv(self._socket, CHUNK)):
                    left -= len(data)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


async def relay(one: Channel, other: Channel) -> None:
    """Pass on bytes in both directions until both have ended."""
    copies = [asyncio.create_task(_copy(one, other)), asyncio.create_task(_copy(other, one))]
    try:
        await asyncio.gather(*copies)
    finally:
        for copy in copies:
            copy.cancel()
        await asyncio.wait(copies)


async def _copy(source: Channel, target: Channel) -> None:
    while data := await source.receive():
        await target.send(data)
    target.finish()
