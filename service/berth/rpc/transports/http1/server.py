"""The server of the own Envoy: its socket, its running calls and its end."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

from grpc import StatusCode

from berth.rpc.transports.context import (
    MAX_CONCURRENT_CALLS,
    TOO_MANY_CALLS,
    TRANSPORT_LIMIT,
    Limited,
    Routes,
    uncounted,
)
from berth.rpc.transports.http1.connection import READ_BYTES, Connection
from berth.rpc.transports.http1.context import Http1Context

END_SECONDS = 1.0
"""How long cancelled calls may take to end, and then what was sent to leave."""
_BACKLOG = 4096
"""How many connections may wait: to a Unix socket they fail at once if there are more."""
_ACCEPTED_AT_ONCE = 64
_RETRY_SECONDS = 0.1


class Http1Server:
    """Serves `routes` on a Unix socket, at most `max_calls` at a time; `limited` counts what is refused beyond them."""

    def __init__(self, routes: Routes, *, max_calls: int = MAX_CONCURRENT_CALLS, limited: Limited = uncounted) -> None:
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.buffer = bytearray(READ_BYTES)
        self._routes = routes
        self._max_calls = max_calls
        self._limited = limited
        self._running: set[asyncio.Task[None]] = set()
        self._opening: set[asyncio.Task[object]] = set()

    def bind(self, path: str) -> None:
        """Take the Unix socket `path`, in place of one that is left there. OSError if that is not possible."""
        Path(path).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        try:
            self._socket.bind(path)
        except OSError:
            self._socket.close()
            raise

    async def start(self) -> None:
        """Serve."""
        self._socket.listen(_BACKLOG)
        self._listen()

    async def stop(self, grace: float | None) -> None:
        """Accept no more connections, and cancel calls that still run after `grace` seconds.

        Connections are closed with the response to their next call, and all of them at the end, once what was sent has
        left: Envoy may be sending a request on one that is closed earlier.
        """
        self.is_draining = True
        self._close_socket()
        await self._calls_ended(grace or 0)
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=END_SECONDS)
        await self._close_connections()

    async def _calls_ended(self, seconds: float) -> None:
        """Wait at most `seconds` for calls, also for those that begin meanwhile on the connections that there are."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._running:
                    await asyncio.wait(self._running)

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        """Accept connections; without a descriptor for one, try again a moment later, while it waits.

        asyncio's own servers log such a failure once for each connection that may wait.
        """
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                accepted, _address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:
                loop.remove_reader(self._socket)
                loop.call_later(_RETRY_SECONDS, self._listen)
                return
            accepted.setblocking(False)
            opening = loop.create_task(loop.connect_accepted_socket(lambda: Connection(self), accepted))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    def _close_socket(self) -> None:
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    async def _close_connections(self) -> None:
        connections = list(self.connections)
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=END_SECONDS)
        for connection in connections:
            connection.break_off()

    def start_call(self, call: Http1Context) -> None:
        """Start the handler of a call, or end the call."""
        route = self._routes.get(call.request.path)
        if route is None:
            call.end(StatusCode.UNIMPLEMENTED, "Method not found!")
        elif len(self._running) >= self._max_calls:
            self._limited(TRANSPORT_LIMIT)
            call.end(StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS)
        else:
            task = call.start(route.handle)
            self._running.add(task)
            task.add_done_callback(self._running.discard)
