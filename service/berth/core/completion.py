"""Work that must not stop half-way: a row that is being written, a blob that is to be removed."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

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
        return await asyncio.shield(task)
