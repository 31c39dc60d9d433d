"""Deduplicates concurrent identical calls (single flight)."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Runs at most one call per key at a time; keeps nothing of a call that has ended."""

    def __init__(self) -> None:
        self._running: dict[K, _RunningCall[T]] = {}

    async def join(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the running call for `key`, or start `call`; all callers get the same result or error.

        If a caller is cancelled, the others keep waiting; if the last one is cancelled, so is the
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

    def _start(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> "_RunningCall[T]":
        async def run() -> T:
            try:
                return await call()
            finally:
                self._forget(key, shared)  # later callers start a new call

        shared = self._running[key] = _RunningCall(asyncio.ensure_future(run()))
        return shared

    def _forget(self, key: K, shared: "_RunningCall[T]") -> None:
        if self._running.get(key) is shared:
            del self._running[key]


class _RunningCall(Generic[T]):
    """A running call and the number of callers that wait for it."""

    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self.waiting = 0
