"""A command that runs in a sandbox, as Berth sees it through the socket of its supervisor."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from berth.core.errors import StorageError
from berth.core.exec.sandbox import Outcome, Output, SandboxResult, Stream

_FRAME = struct.Struct("=cI")
_LENGTH = struct.Struct("=I")
_STREAMS = {b"O": Stream.STDOUT, b"E": Stream.STDERR}
_RESULT = b"R"
_LOST = SandboxResult(Outcome.LOST, None, truncated=False, seconds=0.0)


class SupervisedRun:
    """Implements SandboxRun. Reads all the time, so a slow reader keeps the output in memory, which is bounded."""

    cancellation = b"C"

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._outputs: asyncio.Queue[Output | None] = asyncio.Queue()
        self._ended = asyncio.create_task(self._read())

    @classmethod
    async def started(cls, link: socket.socket, spec: dict[str, Any]) -> "SupervisedRun":
        """Have the supervisor at the other end of `link` run what `spec` says."""
        reader, writer = await asyncio.open_connection(sock=link)
        writer.write(message(spec))
        return cls(reader, writer)

    async def output(self) -> AsyncIterator[Output]:
        """Yield what the command writes, until it has ended."""
        while (output := await self._outputs.get()) is not None:
            yield output
        self._outputs.put_nowait(None)  # another reader ends, too

    async def result(self) -> SandboxResult:
        """Return how it ended, once no process of it is left. StorageError if it could not be started."""
        return await asyncio.shield(self._ended)

    async def cancel(self) -> None:
        """End it with all its processes."""
        if not self._ended.done():
            with suppress(ConnectionError):
                self._writer.write(self.cancellation)
        await asyncio.wait([self._ended])

    async def close(self) -> None:
        """Cancel it if it still runs, and close the socket."""
        try:
            await self.cancel()
        finally:
            self._writer.close()
        if not self._ended.cancelled():
            self._ended.exception()  # has been seen, or does not matter

    async def _read(self) -> SandboxResult:
        try:
            while True:
                kind, size = _FRAME.unpack(await self._reader.readexactly(_FRAME.size))
                data = await self._reader.readexactly(size)
                if kind not in _STREAMS:
                    return self._result(kind, data)
                self._outputs.put_nowait(Output(_STREAMS[kind], data))
        except (asyncio.IncompleteReadError, ConnectionError):
            return _LOST
        finally:
            self._outputs.put_nowait(None)

    def _result(self, kind: bytes, data: bytes) -> SandboxResult:
        return read_result(kind, data)[0]


def message(content: dict[str, Any]) -> bytes:
    """Return a message for a supervisor, with its length."""
    body = json.dumps(content).encode()
    return _LENGTH.pack(len(body)) + body


def read_result(kind: bytes, data: bytes) -> tuple[SandboxResult, dict[str, Any]]:
    """Return the result in a frame, and all that the supervisor says. StorageError if there is none."""
    if kind != _RESULT:
        raise StorageError(f"The sandbox could not be started: {data.decode(errors='replace').strip()}")
    found = json.loads(data)
    blocked = tuple(found.get("blocked", ()))
    outcome = Outcome(found["outcome"])
    return (
        SandboxResult(outcome, found["exit_code"], found["truncated"], found["seconds"], found["report"], blocked),
        found,
    )
