"""Rate limits of keys: requests per minute and concurrent calls, in total and per kind of operation.

This module has the rules. A Limiter does the counting, in this process or for all replicas
together.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto
from json import dumps
from math import ceil
from typing import NamedTuple, Protocol

from berth.core.caller import Caller, Limits
from berth.core.errors import RateLimitError

MINUTE_SECONDS = 60
Leave = Callable[[], Awaitable[None]]
"""Counts the end of a call. It does not raise, and completes even if the caller stops waiting for it."""


class Quota(NamedTuple):
    """What remains of a limit of requests per minute, and the seconds until the first used one is available again."""

    limit: int
    remaining: int
    reset_seconds: float


class LimitedCounter(NamedTuple):
    """A counter, and its limits: requests per minute and concurrent calls, None for none."""

    key: str
    per_minute: int | None = None
    in_flight: int | None = None


class Full(Enum):
    """Which limit has been reached."""

    REQUESTS = auto()
    CALLS = auto()


class Admission(NamedTuple):
    """The answer to a call: it is counted, unless a counter is `full`.

    `full` has the limit that has been reached and the position of its counter, None if the call is
    admitted. `quotas` has what is known of each counter with a limit of requests, by position; only
    of an admitted call `leave` has an effect.
    """

    full: tuple[Full, int] | None
    quotas: Mapping[int, Quota]
    leave: Leave


class Limiter(Protocol):
    """Counts requests and calls by key."""

    async def enter(self, counters: Sequence[LimitedCounter]) -> Admission:
        """Count a call in all `counters`, or in none if one of them has no room.

        If the caller is cancelled, the call is not counted as running. StorageError
        (`limits_unavailable`) if the counters cannot be reached.
        """


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
        counters = _counters(caller, kind)
        admission = await self._limiter.enter(counters)
        if admission.full is not None:
            full, position = admission.full
            raise _refusal(full, counters[position], admission.quotas.get(position), tell)
        _tell_least(admission, tell)
        try:
            yield
        finally:
            await admission.leave()


def _counters(caller: Caller, kind: str) -> list[LimitedCounter]:
    """Return the counters that have limits: first that of the kind of operation, then that of the whole key."""
    counters = [_counter(caller.limits, caller.tenant, caller.name)]
    if kind in caller.limits.operations:
        counters.insert(0, _counter(caller.limits.operations[kind], caller.tenant, caller.name, kind))
    return [counter for counter in counters if counter.per_minute is not None or counter.in_flight is not None]


def _counter(limits: Limits, *parts: str) -> LimitedCounter:
    """Return a counter with a key that no other parts have, whatever characters the names contain."""
    return LimitedCounter(dumps(parts), limits.requests_per_minute, limits.max_in_flight)


def _tell_least(admission: Admission, tell: Callable[[Quota], None]) -> None:
    """Call `tell` with the quota with the fewest remaining requests."""
    if admission.quotas:
        tell(min(admission.quotas.values(), key=lambda quota: quota.remaining))


def _refusal(full: Full, counter: LimitedCounter, quota: Quota | None, tell: Callable[[Quota], None]) -> RateLimitError:
    if full is Full.CALLS:
        message = f"Too many calls at a time: the limit of this key is {counter.in_flight}."
        return RateLimitError(message, code="request_limited", retry_after_seconds=1)
    if quota is not None:
        tell(quota)
    seconds = max(1, ceil(quota.reset_seconds)) if quota else MINUTE_SECONDS
    message = f"Too many requests: the limit of this key is {counter.per_minute} per minute. Try again in {seconds} s."
    return RateLimitError(message, code="rate_limited", retry_after_seconds=seconds)
