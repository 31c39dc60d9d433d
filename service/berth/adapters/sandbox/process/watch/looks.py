"""Looks at processes in a thread of its own: the kernel lets nothing read what a process is just changing.

A look may have to wait for a process that waits for a processor itself. The supervisor must not: it passes on what the
command writes, and ends it in time.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress


class Looks:
    """Looks, one at a time, each of which returns the limit that is exceeded; its end makes `descriptor` readable."""

    def __init__(self, look: Callable[[], str | None]) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._look = look
        self._thread = ThreadPoolExecutor(1)
        self._thread.submit(lambda: None)  # so it starts now: later there may be no room for it
        self._begun: Future[str | None] | None = None

    @property
    def is_looking(self) -> bool:
        """Return whether a look has been begun of which nothing is known yet."""
        return self._begun is not None

    def begin(self) -> None:
        """Begin a look; what the one before has found is known."""
        self._begun = self._thread.submit(self._look)
        self._begun.add_done_callback(lambda _: os.eventfd_write(self.descriptor, 1))

    def found(self) -> str | None:
        """Return, once, what a look has found that has ended."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.descriptor)
        if self._begun is None or not self._begun.done():
            return None
        ended, self._begun = self._begun, None
        return ended.result()

    def has_ended_within(self, seconds: float) -> bool:
        """Wait for the end of a look; return whether it has come."""
        return self._begun is None or not wait([self._begun], seconds).not_done
