"""`berth up` and `berth serve`: runs Berth in the foreground, prints the ready line, and handles signals."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import structlog

from berth.app.execs import BuildSandbox, build_sandbox
from berth.app.run import LogTo, Ready, run
from berth.config import Config, Purpose
from berth.launch.banner import banner
from berth.launch.kept_secrets import FIRST_KEY
from berth.launch.process.ending import end_as_decided
from berth.launch.process.open_files import raise_limit
from berth.telemetry.logging import configure_logging

INTERRUPTED = 1
"""The exit code if a second signal stops the process before running requests are finished."""


class Load(Protocol):
    """Reads the configuration: at the start, or again. Raises ConfigError."""

    def __call__(self, *, purpose: Purpose) -> Config:
        """Return the configuration, read for `purpose`."""


def serve_until_stopped(
    load: Load,
    *,
    rest: bool,
    show_banner: bool,
    show_key: bool,
    workers: int,
    replace: bool = False,
    sandbox: BuildSandbox = build_sandbox,
) -> None:
    """Serve with the configuration that `load` returns until a signal stops it; print the ready line once it is ready.

    `workers` is the number of processes that serve. With `replace`, it takes over from the Berth in the data folder.
    `sandbox` builds what commands run in, if there is one process.
    The banner is printed if `show_banner` is set or stderr is a terminal. The banner and the ready line have the first
    key if `show_key` is set or they go to a terminal: other outputs may be kept in a log. Raises StartError if Berth
    cannot start, and ProcessEndedError if Envoy or a worker fails again and again.
    """
    raise_limit()
    config = load(purpose="start")
    for_people = sys.stderr.isatty()
    log_writer = configure_logging(json=not for_people, level=config.log.level)

    def announce(ready: Ready) -> None:
        if show_banner or for_people:
            sys.stderr.write(_banner(ready, config, show_key=show_key or for_people))
            sys.stderr.flush()
        _print_for_programs(_ready_line(ready, show_key=show_key or sys.stdout.isatty()))

    reload = partial(load, purpose="reload")
    serving = run(
        config,
        workers=workers,
        rest=rest,
        log_to=LogTo(log_writer, is_json=not for_people),
        replace=replace,
        reload=reload,
        announce=announce,
        sandbox=sandbox,
    )
    try:
        asyncio.run(_until_signalled(serving))
    finally:
        end_as_decided()


async def _until_signalled(serving: Coroutine[Any, Any, None]) -> None:
    """Run `serving` until SIGTERM or SIGINT, then let it finish; exit immediately on a second signal."""
    task, loop = asyncio.create_task(serving), asyncio.get_running_loop()
    is_stopping = False

    def stop(*_: object) -> None:
        nonlocal is_stopping
        if is_stopping:
            os._exit(INTERRUPTED)
        is_stopping = True
        with suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(task.cancel)

    # Not by the loop, which leaves signals to the system at its end: that would kill the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelling():
            raise


def _print_for_programs(line: str) -> None:
    """Print a line on stdout, if somebody can read it: a service works without a reader."""
    try:
        print(line, flush=True)  # noqa: T201 - programs wait for this line
    except OSError as error:
        structlog.get_logger().warning("ready.unread", reason=f"stdout: {error.strerror}")
        # Python would write what is left at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ready_line(ready: Ready, *, show_key: bool) -> str:
    line = {"event": "ready"}
    if ready.rest_url:
        line["rest"] = ready.rest_url
    line["grpc"] = str(ready.grpc)
    if ready.metrics:
        line["metrics"] = f"http://{ready.metrics}/metrics"
    if ready.virtual_key and show_key:
        line["virtual_key"] = ready.virtual_key
    return json.dumps(line, separators=(",", ":"))


def _banner(ready: Ready, config: Config, *, show_key: bool) -> str:
    return banner(
        grpc=str(ready.grpc),
        rest=ready.rest_url,
        virtual_key=ready.virtual_key if show_key else None,
        key_file=config.data_dir / FIRST_KEY if ready.virtual_key else None,
        is_open=config.auth.mode == "none",
        runs_code=config.exec.driver != "off",
    )
