"""Runs work to completion even if the caller is cancelled, such as writing a row or deleting a blob."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from berth.core.errors import BerthError

T = TypeVar("T")


class BackgroundTasks:
    """Tasks that continue after their caller is cancelled; the application drains them when it stops."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()  # the event loop keeps only weak references

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, which runs to completion even if the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_report_bugs)
            raise

    async def drain(self, seconds: float) -> None:
        """Wait until no task is running, for at most `seconds`."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)


def _report_bugs(task: asyncio.Task[Any]) -> None:
    """Report the exception of a task that no caller awaits any more to the event loop, unless it is a BerthError."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, BerthError):
        message = "A background task failed after its caller was cancelled"
        task.get_loop().call_exception_handler({"message": message, "exception": error, "task": task})
