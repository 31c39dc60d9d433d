"""The contract of Limiter, run in memory and on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from berth.adapters.memory.limits import MemoryLimits
from berth.adapters.valkey.limits import ValkeyLimits
from berth.core.auth.rate_limits import Limiter
from support.servers.valkey import Valkey

LOG = structlog.wrap_logger(None, processors=[lambda *_: ""])


@pytest.fixture(params=["memory", "valkey"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimits()
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    limits = ValkeyLimits(valkey.url(), open_when_away=False, log=LOG)
    yield limits
    await limits.close()


async def test_as_many_requests_pass_as_may(limiter: Limiter) -> None:
    """Of many at once exactly the limit is counted, and each is told what is left."""
    answers = await asyncio.gather(*(limiter.hit("key", per_minute=10) for _ in range(25)))
    assert sorted(is_counted for is_counted, _ in answers) == [False] * 15 + [True] * 10
    quotas = [quota for _, quota in answers if quota is not None]
    assert {quota.limit for quota in quotas} == {10}
    assert min(quota.remaining for quota in quotas) == 0
    assert all(0 <= quota.remaining < 10 and 55 < quota.reset_seconds <= 60 for quota in quotas)


async def test_keys_do_not_share(limiter: Limiter) -> None:
    """What one key uses up is still there for another, of requests and of calls in flight."""
    assert [(await limiter.hit(key, per_minute=1))[0] for key in ("a", "b", "a")] == [True, True, False]
    entered = [await limiter.enter(key, maximum=1) for key in ("a", "b", "a")]
    assert [leave is not None for leave in entered] == [True, True, False]


async def test_a_call_that_ends_makes_room(limiter: Limiter) -> None:
    """As many run at a time as may, and the next one may begin when one has ended."""
    entered = await asyncio.gather(*(limiter.enter("key", maximum=3) for _ in range(5)))
    running = [leave for leave in entered if leave is not None]
    assert len(running) == 3
    await running[0]()
    assert await limiter.enter("key", maximum=3) is not None
    assert await limiter.enter("key", maximum=3) is None


@pytest.mark.parametrize("key", ["", "a/b:c", "{x}", "Größe 🚢", "a" * 600])
async def test_any_name_is_a_key(limiter: Limiter, key: str) -> None:
    """Names are made by people."""
    assert (await limiter.hit(key, per_minute=1))[0]
    assert not (await limiter.hit(key, per_minute=1))[0]
    assert await limiter.enter(key, maximum=1) is not None
    assert await limiter.enter(key, maximum=1) is None
