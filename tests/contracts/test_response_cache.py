"""The contract of ResponseCache, run in memory, on a real Valkey and on the fake."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import structlog

from berth.adapters.memory.cache import MemoryCache
from berth.adapters.valkey.cache import MAX_BODY_BYTES, ValkeyCache
from berth.core.caller import NO_OPTIONS, Options
from berth.core.ports.response_cache import UNKNOWN, CachedAnswer, CacheKey, ResponseCache, Version
from berth.v1.provider_pb2 import Provider
from support.fakes.caching import DictCache
from support.fakes.stores import FixedClock
from support.servers.valkey import AMPLE_SECONDS, AgingClock, Valkey

KEY = CacheKey(
    tenant="ours",
    allowed=None,
    provider=Provider.PROVIDER_OPENAI,
    account="account",
    operation="retrieve_container",
    container_id="cntr_1",
    file_id="",
    named=Provider.PROVIDER_UNSPECIFIED,
    options=NO_OPTIONS,
)
ANSWER = CachedAnswer("cache_1", b"\x0a\x06cntr_1\x00")
LOG = structlog.wrap_logger(None, processors=[lambda *_: ""])


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> Iterator[FixedClock]:
    if request.node.callspec.params["cache"] != "valkey":
        yield FixedClock()
        return
    valkey: Valkey = request.getfixturevalue("valkey")
    clock = AgingClock(valkey.url())
    yield clock
    clock.store.close()


@pytest.fixture(params=["memory", "dictionary", "valkey"])
async def cache(request: pytest.FixtureRequest, clock: FixedClock) -> AsyncIterator[ResponseCache]:
    if isinstance(clock, AgingClock):
        shared = ValkeyCache(clock.url, log=LOG, patience_seconds=AMPLE_SECONDS)
        yield shared
        await shared.close()
    else:
        yield MemoryCache(100_000, timer=clock) if request.param == "memory" else DictCache(clock)


async def found(cache: ResponseCache, key: CacheKey = KEY) -> CachedAnswer | None:
    """Return the answer that is found."""
    return (await cache.find(key)).answer


async def version(cache: ResponseCache, key: CacheKey = KEY) -> Version:
    """Return the version of a container that does not change now."""
    version = (await cache.find(key)).version
    assert version is not None
    return version


async def put(
    cache: ResponseCache, key: CacheKey = KEY, answer: CachedAnswer = ANSWER, *, ttl_seconds: int = 60
) -> bool:
    """Put an answer that was read just now."""
    return await cache.put(key, answer, version=await version(cache, key), ttl_seconds=ttl_seconds)


async def write(cache: ResponseCache, *, is_settled: bool = True) -> None:
    """Write to the container of KEY."""
    end_write = await cache.begin_write(KEY.tenant, KEY.container_id)
    await end_write(is_settled=is_settled)


async def test_what_was_put_comes_back(cache: ResponseCache) -> None:
    """An answer is under its key as it was put, as often as it is asked for."""
    assert await found(cache) is None
    assert await put(cache)
    assert await found(cache) == await found(cache) == ANSWER


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, tenant="theirs"),
        replace(KEY, allowed=frozenset[Provider]()),
        replace(KEY, provider=Provider.PROVIDER_AZURE),
        replace(KEY, account="other"),
        replace(KEY, operation="retrieve_container_file"),
        replace(KEY, container_id="cntr_", file_id="1"),
        replace(KEY, file_id="cfile_1"),
        replace(KEY, named=Provider.PROVIDER_OPENAI),
        replace(KEY, options=Options(cache_key="key")),
    ],
)
async def test_every_part_of_a_key_counts(cache: ResponseCache, other: CacheKey) -> None:
    """An answer is found under its own key and under no other."""
    await put(cache)
    assert await found(cache, other) is None


async def test_an_answer_takes_the_place_of_an_earlier_one(cache: ResponseCache, clock: FixedClock) -> None:
    """Under one key there is the answer that was put last, with its own time."""
    await put(cache, KEY, ANSWER, ttl_seconds=10)
    later = ANSWER._replace(id="cache_2")
    await put(cache, KEY, later, ttl_seconds=60)
    clock.advance(59)
    assert await found(cache) == later


async def test_an_answer_is_gone_when_its_time_is_up(cache: ResponseCache, clock: FixedClock) -> None:
    """Sixty seconds are sixty seconds, each answer has its own, and it can be put again."""
    other = replace(KEY, tenant="theirs")
    await put(cache)
    await put(cache, other, ANSWER, ttl_seconds=61)
    clock.advance(59)
    assert await found(cache) == ANSWER
    clock.advance(1)
    assert (await found(cache), await found(cache, other)) == (None, ANSWER)
    await put(cache, KEY, ANSWER, ttl_seconds=1)
    assert await found(cache) == ANSWER


@pytest.mark.parametrize("seconds", [0, -1])
async def test_an_answer_without_time_is_not_kept(cache: ResponseCache, seconds: int) -> None:
    """It is not there even for the moment, and neither is what was there before."""
    await put(cache)
    assert not await put(cache, KEY, ANSWER, ttl_seconds=seconds)
    assert await found(cache) is None


async def test_a_write_makes_answers_invalid(cache: ResponseCache) -> None:
    """What was read before a write is not found while it runs nor after it; other containers keep their answers."""
    others = replace(KEY, tenant="theirs"), replace(KEY, container_id="cntr_2")
    for key in (KEY, *others):
        await put(cache, key)
    end_write = await cache.begin_write(KEY.tenant, KEY.container_id)
    assert await cache.find(KEY) == UNKNOWN
    await end_write(is_settled=True)
    assert [await found(cache, key) for key in (KEY, *others)] == [None, ANSWER, ANSWER]
    assert await put(cache)
    assert await found(cache) == ANSWER


async def test_an_answer_that_a_write_overtakes_is_not_kept(cache: ResponseCache) -> None:
    """An answer is not cached if a write began, or began and ended, after it was asked for."""
    before = await version(cache)
    assert (await version(cache)).state == before.state
    end_write = await cache.begin_write(KEY.tenant, KEY.container_id)
    assert not await cache.put(KEY, ANSWER, version=before, ttl_seconds=60)
    await end_write(is_settled=True)
    assert not await cache.put(KEY, ANSWER, version=before, ttl_seconds=60)
    assert (await cache.find(KEY)).answer is None
    assert (await version(cache)).state != before.state


async def test_of_two_writes_both_must_end(cache: ResponseCache) -> None:
    """A container may change until the last of its writes has ended."""
    end_write = await cache.begin_write(KEY.tenant, KEY.container_id)
    await write(cache)
    assert await cache.find(KEY) == UNKNOWN
    await end_write(is_settled=True)
    assert await put(cache)


async def test_a_write_without_an_answer_may_still_happen(cache: ResponseCache, clock: FixedClock) -> None:
    """For 60 seconds after a write that is not settled nothing of its container is cached, whatever follows."""
    await put(cache)
    await write(cache, is_settled=False)
    clock.advance(59)
    await write(cache)
    assert await cache.find(KEY) == UNKNOWN
    clock.advance(1)
    assert await found(cache) is None
    assert await put(cache)


async def test_an_answer_that_is_too_large_is_not_kept(cache: ResponseCache) -> None:
    """It is said that it is not cached, and an answer before it stays."""
    await put(cache)
    assert not await put(cache, answer=CachedAnswer("cache_2", bytes(MAX_BODY_BYTES + 1)))
    assert await found(cache) == ANSWER
