"""MemoryCache: its bound, and what makes room."""

import tracemalloc

from berth.adapters.memory.cache import ENTRY_BYTES, MemoryCache
from berth.core.caller import Options
from berth.core.ports.response_cache import CachedAnswer, CacheKey, Version
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import FixedClock

OPENAI = Provider.PROVIDER_OPENAI
NO_WRITES = Version(0)


def key(number: int) -> CacheKey:
    return CacheKey(
        tenant=f"tenant-{number}",
        allowed=None,
        provider=OPENAI,
        account="account",
        operation="retrieve_container",
        container_id=f"cntr_{number:048x}",
        file_id=f"cfile_{number:032x}",
        named=OPENAI,
        options=Options(cache_key=f"key-{number}"),
    )


def answer(number: int, *, length: int = 300) -> CachedAnswer:
    return CachedAnswer(f"cache_{number:032x}", bytes(length))


async def test_it_never_takes_more_than_it_may() -> None:
    """A hundred answers of 10 kB into 200 kB: some twenty stay, the last among them."""
    cache = MemoryCache(200_000, timer=FixedClock())
    for number in range(100):
        assert await cache.put(key(number), answer(number, length=10_000), version=NO_WRITES, ttl_seconds=60)
        assert cache.bytes <= 200_000
    kept = [number for number in range(100) if (await cache.find(key(number))).answer is not None]
    assert kept == list(range(100 - len(kept), 100))
    assert 15 <= len(kept) <= 20


async def test_what_is_used_stays() -> None:
    """The answer that was least recently used makes room first."""
    cache = MemoryCache(50_000, timer=FixedClock())
    await cache.put(key(0), answer(0), version=NO_WRITES, ttl_seconds=60)
    for number in range(1, 100):
        await cache.put(key(number), answer(number), version=NO_WRITES, ttl_seconds=60)
        assert (await cache.find(key(0))).answer == answer(0)
    assert (await cache.find(key(1))).answer is None


async def test_what_is_too_large_is_not_kept() -> None:
    """An answer over the bound displaces nobody."""
    cache = MemoryCache(20_000, timer=FixedClock())
    assert await cache.put(key(0), answer(0), version=NO_WRITES, ttl_seconds=60)
    assert not await cache.put(key(1), answer(1, length=20_000), version=NO_WRITES, ttl_seconds=60)
    assert (await cache.find(key(0))).answer == answer(0)
    assert (await cache.find(key(1))).answer is None


async def test_the_key_counts() -> None:
    """A caller's own texts in the key are part of what an entry takes."""
    cache = MemoryCache(10_000, timer=FixedClock())
    await cache.put(key(0), answer(0, length=1000), version=NO_WRITES, ttl_seconds=60)
    assert 1000 + len(key(0).container_id) + ENTRY_BYTES < cache.bytes < 1000 + ENTRY_BYTES + 1000


async def test_what_has_expired_takes_no_room() -> None:
    """Answers whose time is up go before any that still hold."""
    clock = FixedClock()
    cache = MemoryCache(10_000, timer=clock)
    for number in range(5):
        await cache.put(key(number), answer(number), version=NO_WRITES, ttl_seconds=60)
    clock.advance(60)
    await cache.put(key(5), answer(5), version=NO_WRITES, ttl_seconds=60)
    assert cache.bytes < 2500


async def test_the_count_is_true() -> None:
    """The memory that is really used is no more than what is counted, and no less than half of it."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        cache = MemoryCache(10**9, timer=FixedClock())
        for number in range(2000):
            await cache.put(key(number), answer(number), version=NO_WRITES, ttl_seconds=60)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert cache.bytes / 2 < used <= cache.bytes
