"""`berth up` and `berth serve`: runs Berth in the foreground, prints the ready line, and handles signals."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from berth.app.run import Ready, run
from berth.config import Config
from berth.launch.banner import banner
from berth.telemetry.logging import configure_logging

INTERRUPTED = 1
"""The exit code if a second signal stops the process before running requests are finished."""


def serve_until_stopped(load: Callable[[], Config], *, rest: bool, show_banner: bool, replace: bool = False) -> None:
    """Serve with the configuration that `load` returns until a signal stops it; print the ready line once it is ready.

    With `replace`, it takes over from the Berth that uses the same data folder.
    The banner is printed if `show_banner` is set or stderr is a terminal. Raises StartError if Berth cannot start, and
    EnvoyEndedError if Envoy fails again and again.
    """
    config = load()
    for_people = sys.stderr.isatty()
    configure_logging(json=not for_people)

    def announce(ready: Ready) -> None:
        if show_banner or for_people:
            sys.stderr.write(_banner(ready, config))
            sys.stderr.flush()
        print(_ready_line(ready), flush=True)  # noqa: T201 - programs wait for this line

    serving = run(config, rest=rest, json_log=not for_people, replace=replace, reload=load, announce=announce)
    asyncio.run(_until_signalled(serving))


async def _until_signalled(serving: Coroutine[Any, Any, None]) -> None:
    """Run `serving` until SIGTERM or SIGINT, then let it finish; exit immediately on a second signal."""
    task = asyncio.create_task(serving)

    def stop() -> None:
        if task.cancelling():
            os._exit(INTERRUPTED)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelling():
            raise


def _ready_line(ready: Ready) -> str:
    line = {"event": "ready"}
    if ready.rest_url:
        line["rest"] = ready.rest_url
    line["grpc"] = str(ready.grpc)
    if ready.metrics:
        line["metrics"] = f"http://{ready.metrics}/metrics"
    if ready.virtual_key:
        line["virtual_key"] = ready.virtual_key
    return json.dumps(line, separators=(",", ":"))


def _banner(ready: Ready, config: Config) -> str:
    return banner(
        grpc=str(ready.grpc),
        rest=ready.rest_url,
        virtual_key=ready.virtual_key,
        is_open=config.auth.mode == "none",
    )
