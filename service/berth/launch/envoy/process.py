"""One process of the Envoy that `berth up` runs: starts, checks, drains and stops it."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process, create_subprocess_exec
from contextlib import suppress
from pathlib import Path
from typing import Self

from berth.launch.envoy.admin import EnvoyAdmin
from berth.launch.process import child_process
from berth.launch.refusal import StartError

START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
CHECK_SECONDS = 1.0
"""Time between two checks of a running Envoy."""
MAX_UNANSWERED = 2
"""The number of checks in a row, of PING_SECONDS each, that Envoy may leave unanswered before it counts as hung."""
MIN_THREADS = 2
WORKERS_A_THREAD = 2
"""How many workers of the service, of one Python process each, a thread of Envoy can keep busy. More threads than that
would only take memory."""
_READ_BYTES = 65_536
_LOG_MILLISECONDS = 1000
"""After how long at the latest Envoy writes lines of its access log; without the option it is ten seconds."""

ADMIN_SOCKET = "admin"
"""The name of the socket of the admin interface, in the folder in which Envoy runs."""
CONFIGURATION = "bootstrap.json"
"""The name of the file with the configuration, in the same folder."""
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TZ")

_JSON_LOG = '{"level":"%l","event":"envoy.log","logger":"%n","message":"%j","timestamp":"%Y-%m-%dT%T.%fZ"}'
_READABLE_LOG = "envoy [%l] %v"


class EnvoyProcess:
    """An Envoy that runs in `folder`."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.admin = EnvoyAdmin(folder / ADMIN_SOCKET)
        self._process = process
        self._log = asyncio.create_task(_forward_log(process))

    @classmethod
    async def start(cls, program: str, folder: Path, *, json_log: bool, workers: int = 1) -> Self:
        """Start Envoy with the configuration in `folder`; return when it is ready. Raises StartError if it fails."""
        _remove_socket(folder)
        threads = max(MIN_THREADS, -(-workers // WORKERS_A_THREAD))
        started = cls(await _execute(program, folder, json_log=json_log, threads=threads), folder)
        try:
            await started._wait_until_live()
        except BaseException:
            await started.stop(0)
            raise
        return started

    async def failure(self) -> str:
        """Wait until Envoy exits or hangs; kill it if it hangs, and return what happened."""
        exited = asyncio.create_task(self._process.wait())
        unanswered = 0
        try:
            while not (await asyncio.wait([exited], timeout=CHECK_SECONDS))[0]:
                unanswered = 0 if await self.admin.answers() else unanswered + 1
                if unanswered >= MAX_UNANSWERED:
                    await self.stop(0)
                    return "did not answer"
            return f"ended by itself with status {exited.result()}"
        finally:
            exited.cancel()

    async def drain(self, grace_seconds: float, *, linger_seconds: float) -> None:
        """Take no new connections, and wait at most `grace_seconds` for running requests.

        Then wait at most `linger_seconds` for connections without a request, on which clients may still send one.
        """
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self.admin.start_draining()
                with suppress(TimeoutError):
                    async with asyncio.timeout(linger_seconds):
                        while await self.admin.connections():  # noqa: ASYNC110 - no event
                            await asyncio.sleep(POLL_SECONDS)
                while self._process.returncode is None and await self.admin.active_requests():  # noqa: ASYNC110 - no event
                    await asyncio.sleep(POLL_SECONDS)

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop Envoy; kill it if it takes longer than `seconds`."""
        if self._process.returncode is None and seconds:
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._log

    async def _wait_until_live(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self.admin.is_live():
                    status = self._process.returncode
                    if status is not None:
                        raise StartError(f"Envoy did not start (status {status}); see its messages above")
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            raise StartError(f"Envoy did not start within {START_SECONDS:.0f} seconds") from error


def _remove_socket(folder: Path) -> None:
    """Remove the socket of a previous Envoy, so that an answer comes from the new one."""
    (folder / ADMIN_SOCKET).unlink(missing_ok=True)


async def _execute(program: str, folder: Path, *, json_log: bool, threads: int) -> Process:
    arguments = [
        *("--config-path", CONFIGURATION),
        "--disable-hot-restart",
        *("--concurrency", str(threads)),
        *("--drain-strategy", "immediate"),
        *("--log-level", "warning"),
        # Without "caught SIGTERM", and without a line each second while the collector of traces is away.
        *("--component-log-level", "main:error,tracing:off"),
        *("--log-format", _JSON_LOG if json_log else _READABLE_LOG),
        *("--file-flush-interval-msec", str(_LOG_MILLISECONDS)),
    ]
    # In a new session Ctrl-C reaches only Berth, which drains Envoy before it stops it.
    return await create_subprocess_exec(
        *(sys.executable, "-IS", child_process.__file__, str(os.getpid()), program, *arguments),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
        cwd=folder,
        # Nothing else: the environment may contain keys and passwords of the configuration.
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    )


async def _forward_log(process: Process) -> None:
    """Copy Envoy's log to stderr in whole lines, so that lines of Envoy and of the service are not mixed."""
    incomplete = b""
    while process.stderr is not None and (read := await process.stderr.read(_READ_BYTES)):
        lines, newline, incomplete = (incomplete + read).rpartition(b"\n")
        sys.stderr.buffer.write(lines + newline)
        sys.stderr.buffer.flush()
    sys.stderr.buffer.write(incomplete)
    sys.stderr.buffer.flush()
