"""The contract of Limiter, run in memory and on a real Valkey."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from berth.adapters.memory.limits import MemoryLimits
from berth.adapters.valkey.limits import ValkeyLimits
from berth.core.auth.rate_limits import Admission, Full, LimitedCounter, Limiter
from support.servers.valkey import AMPLE_SECONDS, Valkey

LOG = structlog.wrap_logger(None, processors=[lambda *_: ""])


@pytest.fixture(params=["memory", "valkey"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    if request.param == "memory":
        yield MemoryLimits()
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    limits = ValkeyLimits(valkey.url(), open_when_away=False, log=LOG, patience_seconds=AMPLE_SECONDS)
    yield limits
    await limits.close()


async def hit(limiter: Limiter, key: str, *, per_minute: int) -> Admission:
    """Count a request."""
    return await limiter.enter([LimitedCounter(key, per_minute=per_minute)])


async def start(limiter: Limiter, key: str, *, maximum: int) -> Admission:
    """Count the start of a call."""
    return await limiter.enter([LimitedCounter(key, in_flight=maximum)])


async def test_as_many_requests_pass_as_may(limiter: Limiter) -> None:
    """Of many at once exactly the limit is counted, and each is told what is left."""
    answers = await asyncio.gather(*(hit(limiter, "key", per_minute=10) for _ in range(25)))
    assert [answer.full for answer in answers].count(None) == 10
    assert [answer.full for answer in answers].count((Full.REQUESTS, 0)) == 15
    quotas = [answer.quotas[0] for answer in answers]
    assert {quota.limit for quota in quotas} == {10}
    assert min(quota.remaining for quota in quotas) == 0
    assert all(0 <= quota.remaining < 10 and 55 < quota.reset_seconds <= 60 for quota in quotas)


async def test_keys_do_not_share(limiter: Limiter) -> None:
    """What one key uses up is still there for another, of requests and of calls in flight."""
    requests = [await hit(limiter, key, per_minute=1) for key in ("a", "b", "a")]
    assert [answer.full for answer in requests] == [None, None, (Full.REQUESTS, 0)]
    calls = [await start(limiter, key, maximum=1) for key in ("a", "b", "a")]
    assert [answer.full for answer in calls] == [None, None, (Full.CALLS, 0)]


async def test_a_call_that_ends_makes_room(limiter: Limiter) -> None:
    """As many run at a time as may, and the next one may begin when one has ended."""
    entered = await asyncio.gather(*(start(limiter, "key", maximum=3) for _ in range(5)))
    running = [admission for admission in entered if admission.full is None]
    assert len(running) == 3
    await running[0].leave()
    assert (await start(limiter, "key", maximum=3)).full is None
    assert (await start(limiter, "key", maximum=3)).full == (Full.CALLS, 0)


async def test_a_refused_call_is_not_counted(limiter: Limiter) -> None:
    """If one counter is full, no other one counts the call, neither as a request nor as running."""
    one = LimitedCounter("one", per_minute=1, in_flight=5)
    others = [LimitedCounter("two", per_minute=9, in_flight=1), LimitedCounter("three", per_minute=9)]
    first = await limiter.enter([one, *others])
    assert (first.full, {at: quota.remaining for at, quota in first.quotas.items()}) == (None, {0: 0, 1: 8, 2: 8})
    assert (await limiter.enter([one, *others])).full == (Full.CALLS, 1)
    await first.leave()
    refused = await limiter.enter([*others, one])
    assert refused.full == (Full.REQUESTS, 2)
    assert {at: quota.remaining for at, quota in refused.quotas.items()} == {0: 8, 1: 8, 2: 0}
    await refused.leave()
    assert (await limiter.enter(others)).full is None


@pytest.mark.parametrize("key", ["", "a/b:c", "{x}", "Größe 🚢", "a" * 600])
async def test_any_name_is_a_key(limiter: Limiter, key: str) -> None:
    """Names are made by people."""
    assert (await hit(limiter, key, per_minute=1)).full is None
    assert (await hit(limiter, key, per_minute=1)).full is not None
    assert (await start(limiter, key, maximum=1)).full is None
    assert (await start(limiter, key, maximum=1)).full is not None
