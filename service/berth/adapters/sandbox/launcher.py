"""Berth's end of the launcher process: starts it, and hands it the sockets of new supervisors."""

import asyncio
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path

from berth.core.errors import StorageError

_ROOT = Path(__file__).parents[3]
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from berth.adapters.sandbox.process.launcher import main; main()"


_END_SECONDS = 5.0
"""How long its end is waited for; it takes milliseconds."""


class Launcher:
    """The process that starts supervisors; it is started when it is first needed, and again if it has died.

    `cgroups` is the folder for cgroups of sandboxes, None for none.
    """

    def __init__(self, cgroups: Path | None = None) -> None:
        self._cgroups = cgroups
        self._process: Process | None = None
        self._requests: socket.socket | None = None
        self._starting = asyncio.Lock()

    async def supervisor(self) -> socket.socket:
        """Start a supervisor, and return the socket to it. StorageError if that is impossible."""
        for _ in range(2):
            try:
                return self._request(await self._running())
            except ConnectionError:
                await self.close()  # it has died; what it had started goes on
            except OSError as error:
                raise StorageError(f"no sandbox can be started: {error.strerror}") from error
        raise StorageError("the program that starts sandboxes does not run")

    @staticmethod
    def _request(requests: socket.socket) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(requests, [b"1"], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    async def _running(self) -> socket.socket:
        async with self._starting:
            if self._requests is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    self._process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, str(_ROOT)),
                        *([] if self._cgroups is None else [str(self._cgroups)]),
                        stdin=theirs.fileno(),
                        stdout=DEVNULL,
                        stderr=DEVNULL,
                        env={},
                        cwd="/",
                    )
                self._requests = ours
            return self._requests

    async def close(self) -> None:
        """End the launcher, and with it all supervisors and their commands."""
        requests, process = self._requests, self._process
        self._requests = self._process = None
        if requests is not None:
            requests.close()
        if process is None:
            return
        try:
            async with asyncio.timeout(_END_SECONDS):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
