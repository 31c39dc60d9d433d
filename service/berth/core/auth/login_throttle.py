"""Failed attempts to say who one is: counted, and slowed, by where they come from.

Only those who are refused wait. Whoever has the right credential gets through
at once, also from an address that somebody else guesses from.
"""

from collections.abc import Awaitable, Callable

from berth.core.errors import RateLimitError

WINDOW_SECONDS = 60
MAX_WAIT_SECONDS = 2.0
WAIT_STEP_SECONDS = 0.05
"""How much longer each further refusal takes."""
MAX_WAITING = 20
"""Refusals that may wait at a time, from one source; one more is refused at once, and told when to come back."""
MAX_SOURCES = 10_000


class LoginThrottle:
    """Counts the attempts of the last minute, in bounded memory; the first `free` of a source are answered at once.

    `timer` gives seconds of any kind, `sleep` waits for a number of them.
    """

    def __init__(self, *, free: int, timer: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._free = free
        self._timer = timer
        self._sleep = sleep
        self._counts: dict[str, tuple[float, int]] = {}  # by source: when its minute began, and how many since
        self._waiting: dict[str, int] = {}

    async def refused(self, source: str) -> None:
        """Count an attempt of `source` that failed, and wait as long as it takes. RateLimitError if too many wait."""
        excess = self._counted(source) - self._free
        if excess <= 0:
            return
        waiting = self._waiting.get(source, 0)
        if waiting >= MAX_WAITING:
            message = "Too many wrong credentials come from your address."
            raise RateLimitError(message, code="rate_limited", retry_after_seconds=WINDOW_SECONDS)
        self._waiting[source] = waiting + 1
        try:
            await self._sleep(min(MAX_WAIT_SECONDS, excess * WAIT_STEP_SECONDS))
        finally:
            self._end(source)

    def _counted(self, source: str) -> int:
        now = self._timer()
        began, count = self._counts.pop(source, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, count = now, 0
        self._counts[source] = (began, count + 1)
        if len(self._counts) > MAX_SOURCES:
            del self._counts[next(iter(self._counts))]
        return count + 1

    def _end(self, source: str) -> None:
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source]
