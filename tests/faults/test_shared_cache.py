"""The response cache in Valkey, shared by replicas: never stale, however calls and failures follow each other."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test
from redis.asyncio import Redis

from berth.adapters.valkey.cache import PATIENCE_SECONDS, ValkeyCache
from berth.core.errors import UpstreamError
from berth.core.ports.response_cache import ResponseCache
from support.fakes.cached_world import PLENTY, CachedWorld
from support.fakes.caching import ASKING, World, cached
from support.fakes.stores import FixedClock, SequentialIds
from support.fakes.uploads import GivenUpload
from support.measuring.soak import soak, times
from support.servers.latency import Latency, delaying
from support.servers.valkey import AMPLE_SECONDS, AgingClock, Valkey

UNTIL_IT_ENDS = 10_000.0
BEGIN = """
import asyncio, sys, structlog
from berth.adapters.valkey.cache import ValkeyCache

async def main():
    cache = ValkeyCache(sys.argv[1], log=structlog.get_logger(), lease_seconds=1.5, patience_seconds=10)
    await cache.begin_write("ours", "cntr_1")
    print("true", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


class SharedCachedWorld(CachedWorld):
    """Two replicas, each with a connection of its own to the Valkey that keeps the cache."""

    valkey: Valkey

    def clock(self) -> FixedClock:
        """Return a clock that Valkey follows."""
        return AgingClock(self.valkey.url())

    def caches(self) -> list[ResponseCache]:
        """Return the caches of the replicas, which wait for Valkey as long as it takes."""
        assert isinstance(self.world.clock, AgingClock)
        self.log = structlog.testing.LogCapture()
        log = structlog.wrap_logger(None, processors=[self.log])
        url = self.world.clock.url

        async def build() -> list[ValkeyCache]:
            return [
                ValkeyCache(url, log=log, lease_seconds=UNTIL_IT_ENDS, patience_seconds=UNTIL_IT_ENDS) for _ in "ab"
            ]

        self.shared = self.runner.run(build())
        return [*self.shared]

    @rule(replica=st.sampled_from([0, 1]))
    def go_to(self, replica: int) -> None:
        """Have the next callers go to another replica."""
        self.world.backend = self.replicas[replica]

    async def settled(self) -> None:
        """Return when nothing moves any more, and no response is awaited."""
        quiet = 0
        while quiet < PLENTY:
            await asyncio.sleep(0)
            links = [cache._link for cache in self.shared]
            quiet = 0 if any(link._awaited or link._unsent for link in links) else quiet + 1

    def close(self) -> None:
        """Close the connections; none has failed."""

        async def close() -> None:
            for cache in self.shared:
                await cache.close()

        self.runner.run(close())
        assert isinstance(self.world.clock, AgingClock)
        self.world.clock.store.close()
        assert self.log.entries == []


@soak
def test_replicas_are_never_stale(valkey: Valkey) -> None:
    """Whatever is read, written, cancelled and fails on two replicas, every answer was true meanwhile."""
    machine = type("Replicas", (SharedCachedWorld,), {"valkey": valkey})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=times(30, 600), stateful_step_count=60, deadline=None)
    )


VERSION_BYTES = 32
"""The version of a container, with which an entry begins: the ids of the epoch and of a generation."""


@dataclass
class Replicas:
    """Two replicas in front of one provider, each behind a proxy of its own to the Valkey that both use."""

    world: World
    caches: list[ValkeyCache]
    proxies: list[Latency]
    store: Any
    log: structlog.testing.LogCapture

    def __post_init__(self) -> None:
        ids, backend = SequentialIds(), self.world.behind.as_backend()
        self.backends = [cached(backend, self.world.clock, cache=cache, new_id=ids) for cache in self.caches]

    async def read(self, at: int) -> tuple[str, bool]:
        """Return what a replica shows of a container, which is the number of its writes, and whether it was cached."""
        self.world.backend = self.backends[at]
        container = await self.world.container()
        return container.name, container.extra_fields.cache_debug.cache_hit

    async def write(self, at: int) -> None:
        """Write to the container through a replica."""
        await self.backends[at].create_container_file(ASKING, GivenUpload("cntr_1"))

    def wait_for(self, seconds: float) -> None:
        """Have Valkey delay a call for so long at most from now on."""
        for cache in self.caches:
            cache._patience_seconds = seconds

    async def cache_at_both(self) -> None:
        """Have the container cached, and both replicas answer from the cache."""
        for at in (0, 1):
            await self.read(at)  # the first connection of each empties the cache
        for at in (0, 1):
            await self.is_fresh_until(at, hit=True)

    @property
    def count(self) -> str:
        """The number of writes, as a replica shows it."""
        return str(self.world.behind.count("ours", "cntr_1"))

    async def is_fresh_until(self, at: int, *, hit: bool) -> None:
        """Read until the cache answers, or does not answer; all answers are up to date."""
        async with asyncio.timeout(30):
            while (seen := await self.read(at)) != (self.count, hit):
                assert seen[0] == self.count
                await asyncio.sleep(0.02)


@asynccontextmanager
async def two_replicas(
    valkey: Valkey, *, lease: float = UNTIL_IT_ENDS, patience: float = AMPLE_SECONDS
) -> AsyncIterator[Replicas]:
    """Run two replicas on an empty database."""
    url, log = valkey.url(), structlog.testing.LogCapture()
    async with AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(delaying(valkey.server.port, 0)) for _ in range(2)]
        store: Any = Redis.from_url(url.replace("valkey", "redis"))
        stack.push_async_callback(store.aclose)
        urls = [url.replace(str(valkey.server.port), str(proxy.port)) for proxy in proxies]
        logger = structlog.wrap_logger(None, processors=[log])
        caches = [ValkeyCache(url, log=logger, lease_seconds=lease, patience_seconds=patience) for url in urls]
        for cache in caches:
            stack.push_async_callback(cache.close)
        yield Replicas(World(), caches, proxies, store, log)


@pytest.mark.parametrize("lost", ["*", "*epoch", "*generation*", "*writes*", "*entry*"])
async def test_what_valkey_loses_makes_nothing_stale(valkey: Valkey, lost: str) -> None:
    """If keys are evicted or all is lost, before, during or after a write, no replica answers what was before it."""
    async with two_replicas(valkey) as replicas:
        for moment in ("before", "during", "after"):
            await replicas.cache_at_both()
            await _lose(replicas, lost if moment == "before" else None)
            replicas.world.behind.gated = True
            write = asyncio.create_task(replicas.write(0))
            await _gates(replicas, 1)
            replicas.world.behind.gated = False
            await _lose(replicas, lost if moment == "during" else None)
            assert (await replicas.read(1))[0] == replicas.count
            replicas.world.behind.gates[0].set_result(None)
            await write
            await _lose(replicas, lost if moment == "after" else None)
            assert await replicas.read(1) == (replicas.count, False)


async def _lose(replicas: Replicas, pattern: str | None) -> None:
    if pattern and (keys := await replicas.store.keys(f"berth:cache:{pattern}")):
        await replicas.store.delete(*keys)


@pytest.mark.parametrize("damage", [b"", b"words", b"words that are longer than a checksum\0\x0a\x06cntr_1"])
async def test_an_entry_that_is_damaged_is_none(valkey: Valkey, damage: bytes) -> None:
    """If something else has written to an entry, the answer is the provider's, and it is cached again."""
    async with two_replicas(valkey) as replicas:
        await replicas.cache_at_both()
        (key,) = await replicas.store.keys("*entry*")
        version = (await replicas.store.get(key))[:VERSION_BYTES]
        await replicas.store.set(key, version + damage, keepttl=True)
        assert [await replicas.read(at) for at in (0, 1)] == [(replicas.count, False), (replicas.count, True)]


async def _gates(replicas: Replicas, number: int) -> None:
    async with asyncio.timeout(30):
        while len(replicas.world.behind.gates) < number:  # noqa: ASYNC110 - a fake has no event for it
            await asyncio.sleep(0.001)


async def test_keys_are_bounded_and_expire(valkey: Valkey) -> None:
    """No key contains what callers choose, and all but one end by themselves."""
    async with two_replicas(valkey) as replicas:
        await replicas.cache_at_both()
        keys = await replicas.store.keys()
        assert len(keys) == 3
        assert all(key.startswith(b"berth:cache:") and len(key) < 64 for key in keys)
        assert not any(b"cntr" in key for key in keys)
        assert [key for key in keys if await replicas.store.pttl(key) < 0] == [b"berth:cache:epoch"]
        await replicas.write(1)
        assert await replicas.store.keys("*generation*") == []


async def test_a_full_valkey_that_evicts_nothing(valkey: Valkey) -> None:
    """If Valkey refuses to store anything, reads go to the provider, and writes still make answers invalid."""
    async with two_replicas(valkey) as replicas:
        await replicas.cache_at_both()
        await replicas.store.config_set("maxmemory", 1)
        try:
            await replicas.write(0)
            assert await replicas.read(1) == ("1", False)
            await replicas.write(0)
        finally:
            await replicas.store.config_set("maxmemory", 0)
        await replicas.is_fresh_until(1, hit=True)


async def test_a_replica_without_a_connection(valkey: Valkey) -> None:
    """Writes through it are hardly delayed, and when it is connected again, no replica has an answer from before."""
    async with two_replicas(valkey) as replicas:
        await replicas.cache_at_both()
        replicas.wait_for(PATIENCE_SECONDS)
        replicas.proxies[0].open = False
        replicas.proxies[0].cut()
        started = time.monotonic()
        for _ in range(20):
            await replicas.write(0)
            assert await replicas.read(0) == (replicas.count, False)
        assert time.monotonic() - started < 30 * PATIENCE_SECONDS  # of forty calls
        replicas.wait_for(AMPLE_SECONDS)
        replicas.proxies[0].open = True
        async with asyncio.timeout(30):
            while (await replicas.read(1))[0] != replicas.count:  # noqa: ASYNC110 - Valkey has no event for it
                await asyncio.sleep(0.02)
        for at in (0, 1):
            await replicas.is_fresh_until(at, hit=True)
        events = [entry["event"] for entry in replicas.log.entries]
        assert events == ["cache.unavailable", "cache.available"]


async def test_a_process_that_ends_while_valkey_is_away(valkey: Valkey) -> None:
    """If it could not record its write, the others empty the cache before their first answer after their return."""
    async with two_replicas(valkey, patience=PATIENCE_SECONDS) as replicas:
        await replicas.cache_at_both()
        for proxy in replicas.proxies:
            proxy.open = False
            proxy.cut()
        await replicas.write(0)
        await replicas.caches[0].close()
        replicas.proxies[1].open = True
        await replicas.is_fresh_until(1, hit=True)


@pytest.mark.parametrize("error", [None, UpstreamError("It failed.")])
async def test_an_end_that_is_recorded_late(valkey: Valkey, error: UpstreamError | None) -> None:
    """If Valkey goes away during a write, its end, or that it may still happen, is recorded when Valkey is back."""
    async with two_replicas(valkey, patience=PATIENCE_SECONDS) as replicas:
        await replicas.cache_at_both()
        replicas.world.behind.gated = True
        write = asyncio.create_task(replicas.write(0))
        await _gates(replicas, 1)
        replicas.world.behind.gated = False
        replicas.proxies[0].open = False
        replicas.proxies[0].cut()
        replicas.world.behind.error = error
        replicas.world.behind.gates[0].set_result(None)
        await asyncio.gather(write, return_exceptions=True)
        replicas.world.behind.error = None
        replicas.proxies[0].open = True
        if error is None:
            assert await replicas.read(1) == ("1", False)  # the write counts as running
            return
        async with asyncio.timeout(30):
            while not 50 < await _latest_mark(replicas) <= 60:  # noqa: ASYNC110 - Valkey has no event for it
                await asyncio.sleep(0.02)
        assert await replicas.read(1) == ("0", False)


async def _latest_mark(replicas: Replicas) -> float:
    """Return for how many more seconds the container counts as changing."""
    (key,) = await replicas.store.keys("*writes*")
    seconds, microseconds = await replicas.store.time()
    (mark,) = await replicas.store.zrange(key, -1, -1, withscores=True)
    return float(mark[1] - seconds - microseconds / 1_000_000)


async def test_a_write_of_a_killed_process(valkey: Valkey) -> None:
    """It counts as running while its process lives and for a while after that, and nothing from before it is found."""
    async with two_replicas(valkey, patience=PATIENCE_SECONDS) as replicas:
        await replicas.cache_at_both()
        url = f"redis://127.0.0.1:{replicas.proxies[0].port}/{replicas.store.connection_pool.connection_kwargs['db']}"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", BEGIN, url, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline())
        started = time.monotonic()
        while time.monotonic() < started + 2:  # more than a lease: it is renewed
            assert await replicas.read(1) == ("0", False)
            await asyncio.sleep(0.05)
        process.kill()
        await process.wait()
        reads = replicas.world.reads
        await replicas.is_fresh_until(1, hit=True)
        assert replicas.world.reads > reads


async def test_a_silent_valkey_delays_few_calls(valkey: Valkey) -> None:
    """If no response comes, calls that arrive together wait once for as long as the patience, and later ones not."""
    async with two_replicas(valkey) as replicas:
        await replicas.cache_at_both()
        replicas.wait_for(PATIENCE_SECONDS)
        replicas.proxies[0].seconds = UNTIL_IT_ENDS
        started = time.monotonic()
        await asyncio.gather(*(replicas.read(0) for _ in range(50)), *(replicas.write(0) for _ in range(50)))
        for _ in range(50):
            assert await replicas.read(0) == (replicas.count, False)
            await replicas.write(0)
        assert time.monotonic() - started < 40 * PATIENCE_SECONDS  # of 200 calls
        assert [entry["reason"] for entry in replicas.log.entries] == ["TimeoutError"]
