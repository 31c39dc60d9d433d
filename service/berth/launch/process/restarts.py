"""Restarts a process that ends or hangs, with growing delays, until that has failed too often in a row."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

BACK_OFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""The delay before each restart; there are no more restarts in a row than these."""
STABLE_SECONDS = 10.0
"""A process that has run as long as this is not one of a row of failed restarts."""


async def keep_running(
    failure: Callable[[], Awaitable[str]],
    restart: Callable[[str], Awaitable[bool]],
    *,
    delays: Sequence[float] = BACK_OFF_SECONDS,
) -> str:
    """Restart a process until cancelled, each time after the next of `delays`; after the last one return what happened.

    `failure` waits until the running process fails, and returns how. `restart` is given that, and returns whether the
    process has started.
    """
    reason, restarts = await failure(), 0
    while restarts < len(delays):
        await asyncio.sleep(delays[restarts])
        restarts += 1
        if await restart(reason):
            started = time.monotonic()
            reason = await failure()
            restarts = 0 if time.monotonic() - started >= STABLE_SECONDS else restarts
    return f"{reason}; {restarts} restarts in a row have failed"
