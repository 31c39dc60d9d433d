"""MemoryLimits: limits counted in this process only."""

import time
from collections import Counter

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from berth.core.auth.rate_limits import Leave, Quota


class MemoryLimits:
    """A Limiter for one process.

    It uses the library's synchronous API, which never blocks with a storage in memory. It costs a
    fortieth of the asynchronous one, which starts a thread for each request.
    """

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._running: Counter[str] = Counter()

    async def hit(self, key: str, *, per_minute: int) -> tuple[bool, Quota]:
        """Count a request; see Limiter."""
        item = RateLimitItemPerMinute(per_minute)
        is_counted = self._windows.hit(item, key)
        resets_at, remaining = self._windows.get_window_stats(item, key)
        return is_counted, Quota(per_minute, remaining, max(0.0, resets_at - time.time()))

    async def enter(self, key: str, *, maximum: int) -> Leave | None:
        """Count the start of a call; see Limiter."""
        if self._running[key] >= maximum:
            return None
        self._running[key] += 1

        async def leave() -> None:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

        return leave
