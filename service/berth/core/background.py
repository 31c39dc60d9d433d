"""Tasks: runs work to completion even if the caller is cancelled, ends tasks, and waits for the first of several."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import Context
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
        return await shielded(task)

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` without a caller that awaits it. An error of Berth's own ends it silently."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(_report_bugs)

    async def drain(self, seconds: float) -> None:
        """Wait until no task is running, for at most `seconds`."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)


class Abortable:
    """Work that can be aborted from outside, also before it begins."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._aborted = asyncio.Event()

    def abort(self) -> None:
        """End the work soon."""
        self._aborted.set()
        if self._task is not None:
            self._task.cancel()

    async def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns, None if it was aborted; then errors of Berth's own are not raised."""
        if self._aborted.is_set():
            work.close()
            return None
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        self._task = task
        try:
            return await task
        except (asyncio.CancelledError, BerthError):
            if not self._aborted.is_set():
                raise
            return None
        finally:
            self._task = None


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Return what a function returns in a thread of the event loop; see `from_thread`."""
    return await from_thread(asyncio.get_running_loop().run_in_executor(None, function, *arguments))


async def from_thread(work: asyncio.Future[T]) -> T:
    """Return the result of `work` in a thread, which cannot be stopped: a caller who is cancelled waits for its end.

    So what the caller does then, such as to remove a folder, does not meet what the thread still makes in it.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()  # mark it as retrieved: asyncio logs an error that is never retrieved
        raise cancelled
    return work.result()


async def shielded(task: asyncio.Task[T]) -> T:
    """Await `task`, which goes on if the caller is cancelled. An error of Berth's own then ends it silently."""
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_report_bugs)
        raise


async def completed(work: Awaitable[T]) -> T:
    """Return what `work` returns, also to a caller who is cancelled meanwhile: it waits all the same."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        return await task


def create_detached(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task for what outlives the call that happens to start it, and so is no part of that call's trace."""
    return asyncio.get_running_loop().create_task(work, context=Context())


def _report_bugs(task: asyncio.Task[Any]) -> None:
    """Report the exception of a task that no caller awaits any more to the event loop, unless it is a BerthError."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, BerthError):
        message = "A background task failed"
        task.get_loop().call_exception_handler({"message": message, "exception": error, "task": task})


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def all_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until they have ended; the first error cancels the others, and is raised once they have."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for coroutine in coroutines:
                tasks.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def first_of(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until the first one ends; cancel the others, and raise its error, if any."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            await cancelled(task)
