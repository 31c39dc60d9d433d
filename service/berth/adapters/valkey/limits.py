"""Limits counted in Valkey or Redis: one truth for all replicas.

Requests are counted by the `limits` library. Calls in flight are members of a
sorted set, each with the time until which it is believed: what a process holds
it confirms now and then, and what one that died held is free again soon.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex
from typing import Any, TypeVar

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError
from structlog.typing import FilteringBoundLogger

from berth.core.auth.rate_limits import Leave, Quota
from berth.core.errors import StorageError

LEASE_SECONDS = 30.0
"""How long a call in flight is believed without being confirmed."""
PATIENCE_SECONDS = 0.25
"""How long an answer is waited for: a call must not wait for what only counts it."""
PAUSE_SECONDS = 1.0
"""How long nothing is asked after it did not answer."""
MAX_CONNECTIONS = 50
UNAVAILABLE = "limits_unavailable"

_PREFIX = "berth:calls:"
_NOW = "local time = redis.call('TIME') local now = time[1] + time[2] / 1000000 "
_ENTER = f"""
{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[3] * 1000))
return 1
"""
_CONFIRM = f"""
{_NOW}
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000))
"""

T = TypeVar("T")


class ValkeyLimits:
    """A Limiter on the server of `url` (`redis://`, `rediss://`, `valkey://`, `valkeys://`).

    While that is away calls are let through if `open_when_away`, and refused
    otherwise. `lease_seconds` is how long a call is believed to run.
    """

    def __init__(
        self, url: str, *, open_when_away: bool, log: FilteringBoundLogger, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
        )
        shared: Any = {"connection_pool": self._pool}  # the library's annotations leave this option out
        storage = RedisStorage(f"async+{url}", implementation="redispy", key_prefix="berth", **shared)
        self._windows = MovingWindowRateLimiter(storage)
        self._server = Redis(connection_pool=self._pool)
        self._enter = self._server.register_script(_ENTER)
        self._confirm = self._server.register_script(_CONFIRM)
        self._open_when_away = open_when_away
        self._log = log
        self._lease_seconds = lease_seconds
        self._held: dict[str, str] = {}
        self._confirming: asyncio.Task[None] | None = None
        self._is_away = False
        self._ask_again_at = 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._confirming is not None:
            self._confirming.cancel()
        await self._pool.aclose()

    async def hit(self, key: str, *, per_minute: int) -> tuple[bool, Quota | None]:
        """Count a request; see Limiter."""
        item = RateLimitItemPerMinute(per_minute)

        async def count() -> tuple[bool, Quota | None]:
            is_counted = await self._windows.hit(item, key)
            resets_at, remaining = await self._windows.get_window_stats(item, key)
            return is_counted, Quota(per_minute, max(0, remaining), max(0.0, resets_at - time.time()))

        return await self._asked(count, otherwise=(True, None))

    async def enter(self, key: str, *, maximum: int) -> Leave | None:
        """Count a call that begins; see Limiter."""
        name, member = _PREFIX + key, token_hex(16)

        async def enter() -> bool:
            return bool(await self._enter(keys=[name], args=[member, maximum, self._lease_seconds]))

        if not await self._asked(enter, otherwise=True):
            return None
        self._held[member] = name
        if self._confirming is None:
            self._confirming = asyncio.create_task(self._confirm_held())

        async def leave() -> None:
            del self._held[member]

            async def remove() -> None:
                await self._server.zrem(name, member)

            with suppress(StorageError):  # the lease ends by itself
                await self._asked(remove, otherwise=None)

        return leave

    async def _confirm_held(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            for member, name in list(self._held.items()):
                with suppress(StorageError):
                    await self._asked(lambda: self._confirm(keys=[name], args=[member, self._lease_seconds]), None)  # noqa: B023 - awaited at once

    async def _asked(self, ask: Callable[[], Awaitable[Any]], otherwise: T) -> T:
        """Return what `ask` returns; while the server is away `otherwise`, or StorageError."""
        if time.monotonic() < self._ask_again_at:
            return self._without(otherwise)
        try:
            answer: T = await asyncio.wait_for(ask(), 2 * PATIENCE_SECONDS)
        except (RedisError, OSError, TimeoutError) as error:
            self._ask_again_at = time.monotonic() + PAUSE_SECONDS
            if not self._is_away:
                self._log.error("limits.unavailable", reason=type(error).__name__, open=self._open_when_away)
            self._is_away = True
            return self._without(otherwise)
        if self._is_away:
            self._log.info("limits.available")
        self._is_away = False
        return answer

    def _without(self, otherwise: T) -> T:
        if self._open_when_away:
            return otherwise
        raise StorageError("The limits of this key cannot be checked now.", code=UNAVAILABLE)
