"""The contract of ResponseCache, run against the one in memory and its fake."""

from dataclasses import replace

import pytest

from berth.adapters.memory.cache import MemoryCache
from berth.core.caller import NO_OPTIONS, Options
from berth.core.ports.response_cache import CachedAnswer, CacheKey, ResponseCache
from berth.v1.provider_pb2 import Provider
from support.fakes.caching import DictCache
from support.fakes.stores import FixedClock

KEY = CacheKey(
    tenant="ours",
    allowed=None,
    provider=Provider.PROVIDER_OPENAI,
    operation="retrieve_container",
    container_id="cntr_1",
    file_id="",
    named=Provider.PROVIDER_UNSPECIFIED,
    options=NO_OPTIONS,
)
ANSWER = CachedAnswer("cache_1", b"\x0a\x06cntr_1", read_at=3)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(params=["memory", "dictionary"])
def cache(request: pytest.FixtureRequest, clock: FixedClock) -> ResponseCache:
    return MemoryCache(100_000, timer=clock) if request.param == "memory" else DictCache(clock)


def test_what_was_put_comes_back(cache: ResponseCache) -> None:
    """An answer is under its key as it was put, as often as it is asked for."""
    assert cache.get(KEY) is None
    assert cache.put(KEY, ANSWER, ttl_seconds=60)
    assert cache.get(KEY) == cache.get(KEY) == ANSWER


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, tenant="theirs"),
        replace(KEY, allowed=frozenset[Provider]()),
        replace(KEY, provider=Provider.PROVIDER_AZURE),
        replace(KEY, operation="retrieve_container_file"),
        replace(KEY, container_id="cntr_", file_id="1"),
        replace(KEY, file_id="cfile_1"),
        replace(KEY, named=Provider.PROVIDER_OPENAI),
        replace(KEY, options=Options(cache_key="key")),
    ],
)
def test_every_part_of_a_key_counts(cache: ResponseCache, other: CacheKey) -> None:
    """An answer is found under its own key and under no other."""
    cache.put(KEY, ANSWER, ttl_seconds=60)
    assert cache.get(other) is None


def test_an_answer_takes_the_place_of_an_earlier_one(cache: ResponseCache, clock: FixedClock) -> None:
    """Under one key there is the answer that was put last, with its own time."""
    cache.put(KEY, ANSWER, ttl_seconds=10)
    later = ANSWER._replace(id="cache_2")
    cache.put(KEY, later, ttl_seconds=60)
    clock.advance(59)
    assert cache.get(KEY) == later


def test_an_answer_is_gone_when_its_time_is_up(cache: ResponseCache, clock: FixedClock) -> None:
    """Sixty seconds are sixty seconds, each answer has its own, and it can be put again."""
    other = replace(KEY, tenant="theirs")
    cache.put(KEY, ANSWER, ttl_seconds=60)
    cache.put(other, ANSWER, ttl_seconds=61)
    clock.advance(59)
    assert cache.get(KEY) == ANSWER
    clock.advance(1)
    assert (cache.get(KEY), cache.get(other)) == (None, ANSWER)
    cache.put(KEY, ANSWER, ttl_seconds=1)
    assert cache.get(KEY) == ANSWER


@pytest.mark.parametrize("seconds", [0, -1])
def test_an_answer_without_time_is_not_kept(cache: ResponseCache, seconds: int) -> None:
    """It is not there even for the moment, and neither is what was there before."""
    cache.put(KEY, ANSWER, ttl_seconds=60)
    assert not cache.put(KEY, ANSWER, ttl_seconds=seconds)
    assert cache.get(KEY) is None
