"""A TCP proxy on a loopback socket that delays what a server says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Latency:
    """The proxy: its port, and by how many seconds it delays each piece of a response from now on.

    While it is not `open`, it breaks each new connection.
    """

    def __init__(self, to_port: int, seconds: float) -> None:
        self.seconds = seconds
        self.port = 0
        self.open = True
        self.connections = 0
        self._to_port = to_port
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections that there are."""
        for writer in self._writers:
            writer.transport.abort()

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass the bytes of one connection, in both directions."""
        self.connections += 1
        if not self.open:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = {writer}
        try:
            with suppress(OSError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
                writers.add(to_server)
                self._writers |= writers
                await asyncio.gather(self._pass(reader, to_server), self._pass_late(from_server, writer))
        finally:
            self._tasks.discard(task)
            self._writers -= writers
            for each in writers:
                each.transport.abort()

    async def leave(self) -> None:
        """End all connections."""
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
        writer.transport.abort()

    async def _pass_late(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes after the delay of each piece, so that later pieces do not wait for earlier ones."""
        loop, last = asyncio.get_running_loop(), 0.0
        while piece := await reader.read(65_536):
            last = max(last, loop.time() + self.seconds)
            loop.call_at(last, writer.write, piece)
        writer.transport.abort()


@asynccontextmanager
async def delaying(port: int, seconds: float) -> AsyncIterator[Latency]:
    """Run a proxy in front of a port for as long as the context lasts."""
    proxy = Latency(port, seconds)
    listening = await asyncio.start_server(proxy.meet, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        await proxy.leave()
        await listening.wait_closed()
