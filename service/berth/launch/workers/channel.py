"""Carries questions of the supervisor to a worker, and its answers, as Python objects over a socket that both have.

An object is its length and its pickle. Only the two processes have the socket, so that nothing foreign is unpickled.
"""

import asyncio
import pickle
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

STOP = "stop"
"""The question that ends `serve`; it has no answer."""
_LENGTH_BYTES = 4


class Channel:
    """One end of the socket. Methods raise OSError or EOFError if the other process has ended."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Return the channel of one end of a pair of sockets."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    async def send(self, value: object) -> None:
        """Send an object."""
        content = pickle.dumps(value)
        self._writer.write(len(content).to_bytes(_LENGTH_BYTES) + content)
        await self._writer.drain()

    async def receive(self) -> Any:
        """Return the next object that the other process sends."""
        length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
        return pickle.loads(await self._reader.readexactly(length))  # noqa: S301 - see the module

    async def serve(self, answers: Mapping[str, Callable[..., Awaitable[object]]]) -> None:
        """Answer questions, one after the other, until the supervisor says STOP or has ended."""
        while True:
            try:
                number, name, arguments = await self.receive()
                if name == STOP:
                    return
                await self.send((number, await answers[name](*arguments)))
            except (OSError, EOFError):
                return

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


class Questions:
    """Asks the process at the other end of `channel`, which `serve` answers; several questions may be open."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asked = 0
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def ask(self, name: str, *arguments: object) -> Any:
        """Return the answer to a question. EOFError or OSError if the process ends without one."""
        self._asked += 1
        number = self._asked
        if self._reading.done():
            raise EOFError
        self._open[number] = asyncio.get_running_loop().create_future()
        try:
            await self._channel.send((number, name, arguments))
            return await self._open[number]
        finally:
            del self._open[number]

    async def _read(self) -> None:
        try:
            while True:
                number, answer = await self._channel.receive()
                if (future := self._open.get(number)) and not future.done():
                    future.set_result(answer)
        except (OSError, EOFError):
            for future in self._open.values():
                if not future.done():
                    future.set_exception(EOFError())
