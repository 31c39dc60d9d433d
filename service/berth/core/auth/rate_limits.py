"""How much a key may do: requests per minute and calls in flight, of all operations and of each kind of them.

The rules are here; where it is counted, in this process or for all replicas
together, is the business of the Limiter.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from json import dumps
from math import ceil
from typing import NamedTuple, Protocol

from berth.core.caller import Caller, Limits
from berth.core.errors import RateLimitError

MINUTE_SECONDS = 60
Leave = Callable[[], Awaitable[None]]
"""Counts a call that has ended."""


class Quota(NamedTuple):
    """What is left of a number of requests per minute, and in how many seconds the first of them is free again."""

    limit: int
    remaining: int
    reset_seconds: float


class Limiter(Protocol):
    """Counts under keys. Any method may raise StorageError (`limits_unavailable`) if what counts is away."""

    async def hit(self, key: str, *, per_minute: int) -> tuple[bool, Quota | None]:
        """Count a request, unless there were `per_minute` of them in the last minute, and tell whether it was counted.

        And what is left; None if nobody knows.
        """

    async def enter(self, key: str, *, maximum: int) -> Leave | None:
        """Count a call that begins and return how to count its end; None if `maximum` are running."""


class Gate:
    """Lets calls through as long as the limits of their callers allow it."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    @asynccontextmanager
    async def passing(self, caller: Caller, kind: str, *, tell: Callable[[Quota], None]) -> AsyncIterator[None]:
        """Hold a call of a kind of operations within the limits; `tell` is called with what is left of its requests.

        RateLimitError with the code `request_limited` if too many calls run,
        `rate_limited` if there were too many in the last minute.
        """
        async with AsyncExitStack() as running:
            for scope, limits in _scopes(caller, kind):
                await self._enter(scope, limits, running)
            await self._count(caller, kind, tell)
            yield

    async def _enter(self, scope: str, limits: Limits, running: AsyncExitStack) -> None:
        if limits.max_in_flight is None:
            return
        leave = await self._limiter.enter(scope, maximum=limits.max_in_flight)
        if leave is None:
            message = f"Too many calls at a time: the limit of this key is {limits.max_in_flight}."
            raise RateLimitError(message, code="request_limited", retry_after_seconds=1)
        running.push_async_callback(leave)

    async def _count(self, caller: Caller, kind: str, tell: Callable[[Quota], None]) -> None:
        """Count the request in each scope; of several the one with the least left is told."""
        least: Quota | None = None
        for scope, limits in _scopes(caller, kind):
            if limits.requests_per_minute is None:
                continue
            is_counted, quota = await self._limiter.hit(scope, per_minute=limits.requests_per_minute)
            if quota is not None and (least is None or quota.remaining < least.remaining):
                least = quota
                tell(quota)
            if not is_counted:
                raise _too_many(limits.requests_per_minute, quota)


def _scopes(caller: Caller, kind: str) -> Iterator[tuple[str, Limits]]:
    """Yield what is counted together, and its limits: the kind of operations, then the key as a whole."""
    if kind in caller.limits.operations:
        yield _key(caller.tenant, caller.name, kind), caller.limits.operations[kind]
    yield _key(caller.tenant, caller.name), caller.limits


def _key(*parts: str) -> str:
    """Return a key that no other parts have, whatever characters people put into names."""
    return dumps(parts)


def _too_many(per_minute: int, quota: Quota | None) -> RateLimitError:
    seconds = max(1, ceil(quota.reset_seconds)) if quota else MINUTE_SECONDS
    message = f"Too many requests: the limit of this key is {per_minute} per minute. Try again in {seconds} s."
    return RateLimitError(message, code="rate_limited", retry_after_seconds=seconds)
