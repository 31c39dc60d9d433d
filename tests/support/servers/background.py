"""A server of the tests' own beside tests that block: on a loop in another thread."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")
SECONDS = 60.0


@contextmanager
def in_background(context: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Enter an asynchronous context on a loop of its own, and leave it there when this one is left."""
    entered: Future[T] = Future()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with context as value:
            entered.set_result(value)
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)

    thread = threading.Thread(target=work)
    thread.start()
    value = entered.result(SECONDS)
    try:
        yield value
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(SECONDS)
