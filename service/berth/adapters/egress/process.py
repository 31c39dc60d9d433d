"""Berth's end of the egress proxy: starts its process when it is first needed, and opens sockets for commands.

It is a process of its own, so that neither the bytes of a command nor its connections take time from the service, and
what a command sends is parsed where there is nothing to steal.
"""

import asyncio
import json
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from berth.adapters.egress.hosts import plain_domains
from berth.core.errors import StorageError
from berth.core.exec.egress import EgressCounts

_ROOT = Path(__file__).parents[3]
_PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from berth.adapters.egress.program import main; main()"
_BACKLOG = 128
_MAX_MESSAGE_BYTES = 4096
_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """The `ports` and, beyond public addresses, the `private_networks` that commands may reach, such as 10.0.0.0/8.

    `max_bytes` is how much a command may send and receive.
    """

    ports: Sequence[int]
    private_networks: Sequence[str]
    max_bytes: int


@dataclass(slots=True)
class _Opened:
    """A session in the process; `counts` has a result when it has ended."""

    counts: asyncio.Future[EgressCounts]
    refusals: list[str] = field(default_factory=list)


class EgressProcess:
    """Implements Egress. `report` gets the counts of each command that has ended."""

    def __init__(self, settings: EgressSettings, report: Callable[[EgressCounts], None]) -> None:
        self._settings = settings
        self._report = report
        self._process: Process | None = None
        self._link: socket.socket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._sessions: dict[str, _Opened] = {}
        self._numbers = count()

    @staticmethod
    def listen(path: Path) -> socket.socket:
        """Return a socket that listens at a path; see Egress."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # The kernel limits paths of sockets to 107 bytes.
                listener.bind(f"/proc/self/fd/{folder}/{path.name}")
            finally:
                os.close(folder)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise StorageError("The socket of the egress proxy cannot be made.") from error
        return listener

    @asynccontextmanager
    async def opened(
        self, listener: socket.socket, domains: Sequence[str], *, tenant: str
    ) -> AsyncIterator[Sequence[str]]:
        """Serve a proxy; see Egress."""
        name = str(next(self._numbers))
        session = _Opened(asyncio.get_running_loop().create_future())
        link = await self._running()
        self._tell(link, {"open": name, "domains": plain_domains(domains), "tenant": tenant}, listener)
        self._sessions[name] = session
        try:
            yield session.refusals
        finally:
            with suppress(StorageError):
                self._tell(link, {"close": name})
            await asyncio.wait([session.counts], timeout=_CLOSE_SECONDS)
            self._sessions.pop(name, None)
            session.counts.cancel()

    async def close(self) -> None:
        """End the process."""
        link, process, reading = self._link, self._process, self._reading
        self._link = self._process = self._reading = None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        if link is not None:
            link.close()
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @staticmethod
    def _tell(link: socket.socket, message: dict[str, Any], *sockets: socket.socket) -> None:
        """Send a message. StorageError if the process is gone, or takes none."""
        try:
            socket.send_fds(link, [json.dumps(message).encode()], [one.fileno() for one in sockets])
        except OSError as error:
            raise StorageError("The egress proxy does not run.") from error

    async def _running(self) -> socket.socket:
        """Return the socket to the process, which is started if it is needed, or again if it has died."""
        async with self._starting:
            if self._link is not None and self._reading is not None and self._reading.done():
                await self.close()
            if self._link is None:
                self._link, self._process = await self._start()
                self._reading = asyncio.create_task(self._read(self._link))
            return self._link

    async def _start(self) -> tuple[socket.socket, Process]:
        settings = {
            "ports": list(self._settings.ports),
            "private_networks": list(self._settings.private_networks),
            "max_bytes": self._settings.max_bytes,
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-I", "-X", "utf8", "-c", _PROGRAM, str(_ROOT), json.dumps(settings)),
                    stdin=theirs.fileno(),
                    stdout=DEVNULL,
                    stderr=DEVNULL,
                    env={},
                    cwd="/",
                    start_new_session=True,  # a terminal sends its signals to a whole group; Berth decides when it ends
                )
            except OSError as error:
                ours.close()
                raise StorageError("The egress proxy cannot be started.") from error
        ours.setblocking(False)
        return ours, process

    async def _read(self, link: socket.socket) -> None:
        """Note what the process reports, until it ends."""
        with suppress(OSError):
            while data := await asyncio.get_running_loop().sock_recv(link, _MAX_MESSAGE_BYTES):
                self._note(json.loads(data))
        for session in self._sessions.values():
            session.counts.cancel()

    def _note(self, message: dict[str, Any]) -> None:
        session = self._sessions.get(message["id"])
        if "counts" in message:
            counts = EgressCounts(**message["counts"])
            self._report(counts)
            if session is not None and not session.counts.done():
                session.counts.set_result(counts)
        elif session is not None:
            session.refusals.append(message["refused"])
