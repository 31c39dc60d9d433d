"""Work that must not stop half-way: a row that is being written, a blob that is to be removed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from berth.core.errors import BerthError

T = TypeVar("T")


class Completion:
    """Sees work through, even if whoever awaits it goes away."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()  # the event loop itself holds tasks only weakly

    async def of(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, which goes on to its end even if the caller is cancelled."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_tell_of_bugs)
            raise


def _tell_of_bugs(task: asyncio.Task[Any]) -> None:
    """Tell nobody how work failed that nobody waits for any more, unless it is a bug."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, BerthError):
        message = "Work failed that nobody waited for any more"
        task.get_loop().call_exception_handler({"message": message, "exception": error, "task": task})
