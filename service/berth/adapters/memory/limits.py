"""MemoryLimits: limits counted in this process only."""

import time
from collections import Counter
from collections.abc import Sequence

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from berth.core.auth.rate_limits import Admission, Full, LimitedCounter, Quota


class MemoryLimits:
    """A Limiter for one process.

    It uses the library's synchronous API, which never blocks with a storage in memory. It costs a
    fortieth of the asynchronous one, which starts a thread for each request.
    """

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._running: Counter[str] = Counter()

    async def enter(self, counters: Sequence[LimitedCounter]) -> Admission:
        """Count a call; see Limiter."""
        full = self._full(counters)
        running = [] if full else [counter.key for counter in counters if counter.in_flight is not None]
        if full is None:
            self._running.update(running)
            for counter in counters:
                self._hit(counter)
        quotas = {at: self._quota(counter) for at, counter in enumerate(counters) if counter.per_minute is not None}

        async def leave() -> None:
            self._running.subtract(running)
            for key in running:
                if not self._running[key]:
                    del self._running[key]

        return Admission(full, quotas, leave)

    def _full(self, counters: Sequence[LimitedCounter]) -> tuple[Full, int] | None:
        for at, counter in enumerate(counters):
            if counter.in_flight is not None and self._running[counter.key] >= counter.in_flight:
                return Full.CALLS, at
        for at, counter in enumerate(counters):
            if counter.per_minute is not None and not self._windows.test(_item(counter), counter.key):
                return Full.REQUESTS, at
        return None

    def _hit(self, counter: LimitedCounter) -> None:
        if counter.per_minute is not None:
            self._windows.hit(_item(counter), counter.key)

    def _quota(self, counter: LimitedCounter) -> Quota:
        item = _item(counter)
        resets_at, remaining = self._windows.get_window_stats(item, counter.key)
        return Quota(item.amount, remaining, max(0.0, resets_at - time.time()))


def _item(counter: LimitedCounter) -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(counter.per_minute or 0)
