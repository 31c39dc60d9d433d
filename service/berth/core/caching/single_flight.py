"""One call for all who want the same at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Calls that run, by what they are for. Nothing is kept of one that has ended."""

    def __init__(self) -> None:
        self._running: dict[K, _SharedCall[T]] = {}

    async def join(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the call for `key` returns, starting it unless it runs; its error is everybody's.

        Who is cancelled leaves the others waiting; the last to leave cancels the
        call.
        """
        shared = self._running.get(key) or self._start(key, call)
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                shared.task.cancel()
                self._forget(key, shared)

    def _start(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> "_SharedCall[T]":
        async def run() -> T:
            try:
                return await call()
            finally:
                self._forget(key, shared)  # whoever comes from now on starts anew

        shared = self._running[key] = _SharedCall(asyncio.ensure_future(run()))
        return shared

    def _forget(self, key: K, shared: "_SharedCall[T]") -> None:
        if self._running.get(key) is shared:
            del self._running[key]


class _SharedCall(Generic[T]):
    """A call, and how many wait for it."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiting = 0
