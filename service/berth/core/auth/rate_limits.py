"""Rate limits of keys: requests per minute and concurrent calls, in total and per kind of operation.

This module has the rules. A Limiter does the counting, in this process or for all replicas
together.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from json import dumps
from math import ceil
from typing import NamedTuple, Protocol

from berth.core.caller import Caller, Limits
from berth.core.errors import RateLimitError

MINUTE_SECONDS = 60
Leave = Callable[[], Awaitable[None]]
"""Counts the end of a call."""


class Quota(NamedTuple):
    """What remains of a limit of requests per minute, and the seconds until the first used one is available again."""

    limit: int
    remaining: int
    reset_seconds: float


class Limiter(Protocol):
    """Counts requests and calls by key.

    Any method may raise StorageError (`limits_unavailable`) if the counters cannot be reached.
    """

    async def hit(self, key: str, *, per_minute: int) -> tuple[bool, Quota | None]:
        """Count a request, unless `per_minute` requests were counted in the last minute.

        Return whether it was counted, and the remaining quota, None if it is unknown.
        """

    async def enter(self, key: str, *, maximum: int) -> Leave | None:
        """Count the start of a call and return how to count its end; None if `maximum` calls are running."""


class TenantSlots:
    """Limits the concurrent calls of each tenant in this process, by kind of operation.

    So that one tenant cannot take the room of all others; `maxima` has the limits, 0 for none.
    """

    def __init__(self, maxima: Mapping[str, int]) -> None:
        self._maxima = maxima
        self._running: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def taken(self, tenant: str, kind: str) -> Iterator[None]:
        """Count a call of a `kind` of operation until the context ends. RateLimitError if too many are running."""
        maximum, counter = self._maxima.get(kind, 0), (tenant, kind)
        if maximum and self._running[counter] >= maximum:
            message = f"Too many calls at a time: a tenant may have {maximum} of the kind '{kind}'."
            raise RateLimitError(message, code="request_limited", retry_after_seconds=1)
        self._running[counter] += 1
        try:
            yield
        finally:
            self._running[counter] -= 1
            if not self._running[counter]:
                del self._running[counter]


class Gate:
    """Admits calls within the limits of their callers."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    @asynccontextmanager
    async def passing(self, caller: Caller, kind: str, *, tell: Callable[[Quota], None]) -> AsyncIterator[None]:
        """Admit a call of a `kind` of operation, and count it as running until the context ends.

        `tell` is called with the remaining quota of requests. RateLimitError with the code
        `request_limited` if too many calls are running, `rate_limited` if there were too many
        requests in the last minute.
        """
        async with AsyncExitStack() as running:
            for counter, limits in _counters(caller, kind):
                await self._enter(counter, limits, running)
            await self._count(caller, kind, tell)
            yield

    async def _enter(self, counter: str, limits: Limits, running: AsyncExitStack) -> None:
        if limits.max_in_flight is None:
            return
        leave = await self._limiter.enter(counter, maximum=limits.max_in_flight)
        if leave is None:
            message = f"Too many calls at a time: the limit of this key is {limits.max_in_flight}."
            raise RateLimitError(message, code="request_limited", retry_after_seconds=1)
        running.push_async_callback(leave)

    async def _count(self, caller: Caller, kind: str, tell: Callable[[Quota], None]) -> None:
        """Count the request in each counter; `tell` gets the quota with the fewest remaining requests last."""
        least: Quota | None = None
        for counter, limits in _counters(caller, kind):
            if limits.requests_per_minute is None:
                continue
            is_counted, quota = await self._limiter.hit(counter, per_minute=limits.requests_per_minute)
            if quota is not None and (least is None or quota.remaining < least.remaining):
                least = quota
                tell(quota)
            if not is_counted:
                raise _too_many(limits.requests_per_minute, quota)


def _counters(caller: Caller, kind: str) -> Iterator[tuple[str, Limits]]:
    """Yield each counter key and its limits: first that of the kind of operation, then that of the whole key."""
    if kind in caller.limits.operations:
        yield _key(caller.tenant, caller.name, kind), caller.limits.operations[kind]
    yield _key(caller.tenant, caller.name), caller.limits


def _key(*parts: str) -> str:
    """Return a counter key that no other parts have, whatever characters the names contain."""
    return dumps(parts)


def _too_many(per_minute: int, quota: Quota | None) -> RateLimitError:
    seconds = max(1, ceil(quota.reset_seconds)) if quota else MINUTE_SECONDS
    message = f"Too many requests: the limit of this key is {per_minute} per minute. Try again in {seconds} s."
    return RateLimitError(message, code="rate_limited", retry_after_seconds=seconds)
