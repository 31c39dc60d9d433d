"""A session in a sandbox, as Berth sees it through the socket of its supervisor."""

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from berth.adapters.sandbox.folder_changes import FolderRecord
from berth.adapters.sandbox.run import SupervisedRun, message, read_result
from berth.core.exec.changes import Change
from berth.core.exec.sandbox import SandboxLimits, SandboxResult, SessionProgram

_END_SECONDS = 5.0
"""How long the end of all processes of a session is waited for; it takes milliseconds."""


class SupervisedSession:
    """Implements SandboxSession, in `folder`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, folder: Path) -> None:
        self._reader = reader
        self._writer = writer
        self._record = FolderRecord(folder)
        self._has_ended = False
        self._is_mapped = self._was_mapped = False

    @classmethod
    async def started(cls, link: socket.socket, spec: dict[str, Any], folder: Path) -> "SupervisedSession":
        """Have the supervisor at the other end of `link` start the session that `spec` describes."""
        reader, writer = await asyncio.open_connection(sock=link)
        writer.write(message(spec))
        return cls(reader, writer, folder)

    @property
    def is_alive(self) -> bool:
        """Whether it can run another program."""
        return not self._has_ended and not self._reader.at_eof()

    @asynccontextmanager
    async def run(self, program: SessionProgram) -> AsyncIterator[SupervisedRun]:
        """Run a program; leaving the context before its end cancels it."""
        limits = program.limits
        self._writer.write(
            message(
                {
                    "request": program.request,
                    "limits": {
                        "seconds": limits.seconds,
                        "output_bytes": limits.output_bytes,
                        "disk_bytes": limits.disk_bytes,
                        "files": limits.files,
                    },
                    "incoming": program.incoming and program.incoming.name,
                    "removed": list(program.removed),
                }
            )
        )
        run = _ProgramRun(self._reader, self._writer, self)
        try:
            yield run
        finally:
            await run.cancel()

    def note(self, *, is_alive: bool, is_mapped: bool) -> None:
        """Note how a program left the session."""
        self._has_ended = not is_alive
        self._was_mapped, self._is_mapped = self._is_mapped, is_mapped

    def harvest(self, limits: SandboxLimits, paths: Collection[str]) -> Iterator[Change]:
        """Yield what has changed since the last time; it blocks, so call it in a thread."""
        return self._record.changes(limits, paths, is_mapped=self._is_mapped or self._was_mapped)

    async def close(self) -> None:
        """End it with all its processes."""
        self._has_ended = True
        with suppress(OSError):
            self._writer.write_eof()  # which tells the supervisor, and leaves a way for its answer: the end
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_END_SECONDS):
                while await self._reader.read(1 << 16):
                    pass
        self._writer.close()


class _ProgramRun(SupervisedRun):
    cancellation = message({"cancel": True})

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: SupervisedSession) -> None:
        self._session = session
        super().__init__(reader, writer)

    def _result(self, kind: bytes, data: bytes) -> SandboxResult:
        result, found = read_result(kind, data)
        self._session.note(is_alive=found["alive"], is_mapped=found["mapped"])
        return result
