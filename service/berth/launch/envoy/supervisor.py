"""Runs the Envoy of `berth up`, and restarts it if it exits or hangs.

Its configuration is generated in `rest/envoy`.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from berth.launch.envoy.binary import envoy_program
from berth.launch.envoy.process import CONFIGURATION, EnvoyProcess
from berth.launch.process.restarts import keep_running
from berth.launch.refusal import ProcessEndedError, StartError

LINGER_SECONDS = 5.0
"""How long a replaced Envoy keeps idle connections; a client that uses one is answered and told to close it."""


class RunningEnvoy:
    """A running Envoy that listens on `port`, or the one that has replaced it."""

    def __init__(
        self,
        process: EnvoyProcess,
        port: int,
        *,
        start: Callable[[], Awaitable[EnvoyProcess]],
        log: FilteringBoundLogger,
    ) -> None:
        self.port = port
        self._process = process
        self._linger_seconds = 0.0
        self._start = start
        self._log = log

    async def watch(self) -> None:
        """Restart Envoy when it exits or hangs, until cancelled; raise ProcessEndedError after too many failures."""
        raise ProcessEndedError(f"Envoy {await keep_running(self._failure, self._restart)}")

    async def close_port(self) -> None:
        """Accept no more connections; running requests go on."""
        self._linger_seconds = LINGER_SECONDS
        with suppress(OSError):
            await self._process.admin.start_draining()

    async def end(self, grace_seconds: float) -> None:
        """Drain and stop Envoy."""
        try:
            await self._process.drain(grace_seconds, linger_seconds=self._linger_seconds)
        finally:
            await self._process.stop()

    async def _restart(self, reason: str) -> bool:
        """Start Envoy again because of `reason`; return whether it has started."""
        try:
            self._process = await self._start()
        except (StartError, OSError) as error:  # OSError: no descriptor or no memory for another process
            self._log.error("envoy.restart_failed", reason=str(error))
            return False
        self._log.warning("envoy.restarted", reason=f"Envoy {reason}")
        return True

    async def _failure(self) -> str:
        """Wait until the current process fails; return how."""
        reason = await self._process.failure()
        await self._process.stop()
        return reason


@asynccontextmanager
async def running_envoy(
    bootstrap: Mapping[str, object],
    folder: Path,
    *,
    listener: str,
    grace_seconds: float,
    json_log: bool,
    log: FilteringBoundLogger,
    workers: int = 1,
) -> AsyncIterator[RunningEnvoy]:
    """Run Envoy with the configuration `bootstrap` while the context lasts, in front of `workers` processes.

    At the end running requests have `grace_seconds` to finish. Envoy runs in `folder`, so that paths in `bootstrap` may
    be relative to it; its admin interface must be on the Unix socket ADMIN_SOCKET there. `listener` names the listener
    that gives RunningEnvoy its port. Raises StartError if Envoy is not installed or fails to start.
    """
    program = envoy_program()
    _prepare(folder, bootstrap)

    async def start() -> EnvoyProcess:
        return await EnvoyProcess.start(program, folder, json_log=json_log, workers=workers)

    process = await start()
    try:
        port = await process.admin.listening_port(listener)
    except BaseException:
        await process.stop()
        raise
    running = RunningEnvoy(process, port, start=start, log=log)
    try:
        yield running
    finally:
        await running.end(grace_seconds)


def _prepare(folder: Path, bootstrap: Mapping[str, object]) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / CONFIGURATION).write_text(json.dumps(bootstrap), encoding="utf-8")
