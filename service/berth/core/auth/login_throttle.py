"""Throttles failed logins by the address that they come from.

Only rejected requests wait. A request with a correct credential is never delayed, even if other
requests from its address fail.
"""

from collections import Counter
from collections.abc import Awaitable, Callable

from berth.core.auth.sources import network_of
from berth.core.errors import RateLimitError

WINDOW_SECONDS = 60
MAX_WAIT_SECONDS = 2.0
WAIT_STEP_SECONDS = 0.05
"""The additional delay for each further failed login."""
MAX_WAITING = 20
"""The rejected requests of one source that may wait at a time; one more is rejected at once with a retry time."""
MAX_WAITING_IN_ALL = 64
"""Those of all sources: each has a place of `rest.max_calls`, of which those with a credential need some."""
MAX_SOURCES = 10_000


class LoginThrottle:
    """Counts failed logins per source and minute, in bounded memory.

    The first `free` failed logins of a source in a minute are rejected without delay. `timer`
    returns seconds from any starting point, `sleep` waits for a number of seconds.
    """

    def __init__(self, *, free: int, timer: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._free = free
        self._timer = timer
        self._sleep = sleep
        self._counts: dict[str, tuple[float, int]] = {}  # by source: start of its minute, failed logins since
        self._waiting = Counter[str]()

    async def refused(self, source: str) -> None:
        """Count a failed login of `source` and delay its response. RateLimitError if too many responses wait."""
        source = network_of(source)
        excess = self._count(source) - self._free
        if excess <= 0:
            return
        waiting = self._waiting[source]
        if waiting >= MAX_WAITING or self._waiting.total() >= MAX_WAITING_IN_ALL:
            message = "Too many failed logins from your address."
            raise RateLimitError(message, code="rate_limited", retry_after_seconds=WINDOW_SECONDS)
        self._waiting[source] = waiting + 1
        try:
            await self._sleep(min(MAX_WAIT_SECONDS, excess * WAIT_STEP_SECONDS))
        finally:
            self._stop_waiting(source)

    def _count(self, source: str) -> int:
        now = self._timer()
        began, count = self._counts.pop(source, (now, 0))
        if now - began >= WINDOW_SECONDS:
            began, count = now, 0
        self._counts[source] = (began, count + 1)
        if len(self._counts) > MAX_SOURCES:
            del self._counts[next(iter(self._counts))]
        return count + 1

    def _stop_waiting(self, source: str) -> None:
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source]
