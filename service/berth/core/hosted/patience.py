"""Bridges moments in which a store fails, such as a restart of the bucket, for work that runs in the background."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from berth.core.errors import StorageError

PATIENCE_SECONDS = 8.0
"""How long something is tried again after it was begun."""
PAUSE_SECONDS = 0.5
T = TypeVar("T")


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Return what `work` returns; try it again for a while if it raises a StorageError that may pass."""
    until = monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await work()
        except StorageError as error:
            if error.is_final or monotonic() >= until:
                raise
        await asyncio.sleep(PAUSE_SECONDS)
