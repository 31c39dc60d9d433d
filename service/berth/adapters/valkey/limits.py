"""ValkeyLimits: limits counted in Valkey or Redis, for all replicas together.

Requests are counted by the `limits` library. Calls in flight are members of a
sorted set, each with the end of its lease as the score. Each process renews the
leases of its calls; the leases of a process that died expire soon.
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
"""How long a call in flight counts without a renewal of its lease."""
TIMEOUT_SECONDS = 0.25
"""How long to wait for a response of the server: counting must not delay calls."""
PAUSE_SECONDS = 1.0
"""How long no request is sent after the server did not respond."""
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
_RENEW = f"""
{_NOW}
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000))
"""

T = TypeVar("T")


class ValkeyLimits:
    """A Limiter on the server at `url` (`redis://`, `rediss://`, `valkey://`, `valkeys://`).

    While the server is unavailable, calls are allowed if `open_when_away`, and
    refused otherwise. `lease_seconds` is how long a call in flight counts without a renewal.
    """

    def __init__(
        self, url: str, *, open_when_away: bool, log: FilteringBoundLogger, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MAX_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
        )
        shared: Any = {"connection_pool": self._pool}  # missing in the annotations of the library
        storage = RedisStorage(f"async+{url}", implementation="redispy", key_prefix="berth", **shared)
        self._windows = MovingWindowRateLimiter(storage)
        self._server = Redis(connection_pool=self._pool)
        self._enter = self._server.register_script(_ENTER)
        self._renew = self._server.register_script(_RENEW)
        self._open_when_away = open_when_away
        self._log = log
        self._lease_seconds = lease_seconds
        self._in_flight: dict[str, str] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._is_away = False
        self._paused_until = 0.0

    async def close(self) -> None:
        """Close the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
        await self._pool.aclose()

    async def hit(self, key: str, *, per_minute: int) -> tuple[bool, Quota | None]:
        """Count a request; see Limiter."""
        item = RateLimitItemPerMinute(per_minute)

        async def count() -> tuple[bool, Quota | None]:
            is_counted = await self._windows.hit(item, key)
            resets_at, remaining = await self._windows.get_window_stats(item, key)
            return is_counted, Quota(per_minute, max(0, remaining), max(0.0, resets_at - time.time()))

        return await self._ask(count, otherwise=(True, None))

    async def enter(self, key: str, *, maximum: int) -> Leave | None:
        """Count the start of a call; see Limiter."""
        name, member = _PREFIX + key, token_hex(16)

        async def enter() -> bool:
            return bool(await self._enter(keys=[name], args=[member, maximum, self._lease_seconds]))

        if not await self._ask(enter, otherwise=True):
            return None
        self._in_flight[member] = name
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_leases())

        async def leave() -> None:
            del self._in_flight[member]

            async def remove() -> None:
                await self._server.zrem(name, member)

            with suppress(StorageError):  # the lease will expire
                await self._ask(remove, otherwise=None)

        return leave

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            for member, name in list(self._in_flight.items()):
                with suppress(StorageError):
                    await self._ask(lambda: self._renew(keys=[name], args=[member, self._lease_seconds]), None)  # noqa: B023 - awaited at once

    async def _ask(self, request: Callable[[], Awaitable[Any]], otherwise: T) -> T:
        """Return the result of `request`; while the server is unavailable, return `otherwise` or raise StorageError."""
        if time.monotonic() < self._paused_until:
            return self._fall_back(otherwise)
        try:
            answer: T = await asyncio.wait_for(request(), 2 * TIMEOUT_SECONDS)
        except (RedisError, OSError, TimeoutError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            if not self._is_away:
                self._log.error("limits.unavailable", reason=type(error).__name__, open=self._open_when_away)
            self._is_away = True
            return self._fall_back(otherwise)
        if self._is_away:
            self._log.info("limits.available")
        self._is_away = False
        return answer

    def _fall_back(self, otherwise: T) -> T:
        if self._open_when_away:
            return otherwise
        raise StorageError("The limits of this key cannot be checked now.", code=UNAVAILABLE)
