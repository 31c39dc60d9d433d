"""Link: one connection to Valkey that many requests share at the same time.

Requests are sent at once and in order, without waiting for earlier responses, so one round trip
serves any number of callers. A caller that stops waiting does not disturb the others.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

CONNECT_SECONDS = 2.0
"""How long setting up a connection may take, with TLS and the choice of the database."""
SILENCE_SECONDS = 2.0
"""How long a response may be missing before the connection is replaced."""

Response = asyncio.Future[Any]


class LostError(Exception):
    """Raised for a request of which the response cannot arrive any more; the server may have executed it."""


class Link:
    """The connection to the server at `url`, opened on the first request and again after each failure.

    Its scheme is `redis`, `rediss`, `valkey` or `valkeys`. `greeting` is the command that each connection
    begins with; if the server refuses it, the connection fails. `number` counts the connections, so that
    callers notice a new one.
    """

    def __init__(self, url: str, *, greeting: tuple[str, ...] = ()) -> None:
        url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
        self._greeting = greeting
        self._pool = ConnectionPool.from_url(
            url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=CONNECT_SECONDS
        )
        self._unsent: list[tuple[tuple[Any, ...], Response]] = []
        self._awaited: deque[Response] = deque()
        self._has_unsent = asyncio.Event()
        self._silence = asyncio.timeout(None)
        self._running: asyncio.Task[None] | None = None
        self.number = 0

    async def close(self) -> None:
        """Close the connection."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    def request(self, *command: Any) -> Response:
        """Send a command after all earlier ones and return its response, which may be an exception.

        RedisError if the server refuses the command, LostError if the connection fails.
        """
        response: Response = asyncio.get_running_loop().create_future()
        response.add_done_callback(_retrieve)
        self._unsent.append((command, response))
        self._has_unsent.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return response

    async def _run(self) -> None:
        """Serve requests on one connection until it fails; then fail all requests that have no response."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call] # of the library
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call] # of the library
                if self._greeting:
                    await connection.send_command(*self._greeting)
                    await connection.read_response()
            self.number += 1
            async with asyncio.timeout(None) as self._silence, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(connection))
                tasks.create_task(self._receive(connection))
        except* (RedisError, OSError) as errors:
            self._fail(errors.exceptions[0])
        finally:
            await connection.disconnect(nowait=True)
            self._fail(ConnectionAbortedError())  # last, so that no request is left to a task that ends

    async def _send(self, connection: AbstractConnection) -> None:
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            requests, self._unsent = self._unsent, []
            self._awaited.extend(response for _, response in requests)
            self._expect()
            await connection.send_packed_command(connection.pack_commands([command for command, _ in requests]))

    async def _receive(self, connection: AbstractConnection) -> None:
        while True:
            try:
                answer, refusal = await connection.read_response(), None
            except ResponseError as error:
                answer, refusal = None, error
            response = self._awaited.popleft()
            self._expect()
            if response.done():
                continue
            if refusal is None:
                response.set_result(answer)
            else:
                response.set_exception(refusal)

    def _expect(self) -> None:
        """Set until when the next response must arrive, unless that time has passed and the connection ends."""
        if self._silence.expired():
            return  # a response came at the same time as its timeout, such as after the process had been stopped
        now = asyncio.get_running_loop().time()
        self._silence.reschedule(now + SILENCE_SECONDS if self._awaited else None)

    def _fail(self, reason: BaseException) -> None:
        """Raise LostError for all requests without a response."""
        responses = [*self._awaited, *(response for _, response in self._unsent)]
        self._awaited.clear()
        self._unsent.clear()
        for response in responses:
            if not response.done():
                error = LostError(type(reason).__name__)
                error.__cause__ = reason
                response.set_exception(error)


def _retrieve(response: Response) -> None:
    """Mark the exception of a response as seen: callers that stopped waiting do not read it."""
    if not response.cancelled():
        response.exception()
