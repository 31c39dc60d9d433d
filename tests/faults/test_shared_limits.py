"""Calls that share a limit in Valkey: counted exactly, cancelled or not, and never delayed for long."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from berth.adapters.valkey.limits import PATIENCE_SECONDS, ValkeyLimits
from berth.adapters.valkey.link import Link
from berth.core.auth.rate_limits import Gate, Quota
from berth.core.caller import Caller, Limits
from berth.core.errors import RateLimitError
from support.measuring.soak import soak, times
from support.servers.latency import Latency, delaying
from support.servers.valkey import Valkey

LATENCY_SECONDS = 0.02
LOG = structlog.wrap_logger(None, processors=[lambda *_: ""])
UNTIL_IT_ENDS = 60.0


@dataclass
class Shared:
    """A gate on a Valkey with a delay, and what is known of the calls that it admits."""

    gate: Gate
    proxy: Latency
    store: "Redis"
    running: int = 0
    most_running: int = 0
    admitted: int = 0
    refused: int = 0

    async def call(self, caller: Caller, seconds: float) -> None:
        """Make a call that takes a while, and count what comes of it."""
        try:
            async with self.gate.passing(caller, "read", tell=_ignore):
                self.admitted += 1
                self.running += 1
                self.most_running = max(self.running, self.most_running)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self.running -= 1
        except RateLimitError:
            self.refused += 1

    async def cancelled(self, caller: Caller, seconds: float, *, after: float) -> None:
        """Make a call and cancel it after a while, unless it has ended by then."""
        task = asyncio.create_task(self.call(caller, seconds))
        await asyncio.wait({task}, timeout=after)
        task.cancel()
        await asyncio.wait({task})

    async def counted(self) -> int:
        """Return how many calls count as running."""
        return sum([await self.store.zcard(key) async for key in self.store.scan_iter("berth:calls:*")])

    async def counts_none(self) -> None:
        """Return once no call counts as running, long before a lease expires."""
        async with asyncio.timeout(20):
            while await self.counted():  # noqa: ASYNC110 - Valkey has no event for it
                await asyncio.sleep(0.01)


@asynccontextmanager
async def sharing(
    valkey: Valkey, *, delay: float = LATENCY_SECONDS, lease: float = UNTIL_IT_ENDS, patience: float | None = None
) -> AsyncIterator[Shared]:
    """Open a gate on an empty database; without a `patience` every call must be counted, however long that takes."""
    url = valkey.url()
    async with delaying(valkey.server.port, delay) as proxy:
        through = url.replace(str(valkey.server.port), str(proxy.port))
        limits = ValkeyLimits(
            through,
            open_when_away=patience is not None,
            log=LOG,
            lease_seconds=lease,
            patience_seconds=patience or 10.0,
        )
        store: Any = Redis.from_url(url.replace("valkey", "redis"))
        yield Shared(Gate(limits), proxy, store)
        await limits.close()
        await store.aclose()


def caller(max_in_flight: int) -> Caller:
    """Return a caller with a limit for all calls, and one for those that read."""
    one = Limits(max_in_flight=max_in_flight)
    return Caller("t", "k", limits=Limits(max_in_flight=max_in_flight, operations={"read": one}))


async def test_cancelled_calls_leave_at_once(valkey: Valkey) -> None:
    """Of calls that are cancelled at any moment none counts as running afterwards."""
    chance = random.Random(1)  # noqa: S311 - a test repeats its moments
    async with sharing(valkey) as shared:
        for _ in range(5):
            calls = (shared.cancelled(caller(400), 0.05, after=chance.uniform(0, 0.08)) for _ in range(200))
            await asyncio.gather(*calls)
        assert (shared.running, shared.refused) == (0, 0)
        await shared.counts_none()


async def test_calls_within_the_limit_are_never_refused(valkey: Valkey) -> None:
    """Clients that are fewer than the limit allows are all served, call after call, while leases are renewed."""
    async with sharing(valkey, lease=0.3) as shared:

        async def client() -> None:
            for _ in range(12):
                await shared.call(caller(60), 0.005)

        await asyncio.gather(*(client() for _ in range(50)))
        assert (shared.admitted, shared.refused) == (600, 0)
        await shared.counts_none()


@soak
@settings(max_examples=times(10, 500), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    maximum=st.integers(1, 8),
    # for each call: milliseconds until it starts, of its length, and until it is cancelled
    calls=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 40), st.none() | st.integers(0, 100)), min_size=1, max_size=30
    ),
    cut_after=st.none() | st.integers(0, 120),
)
def test_any_calls(
    valkey: Valkey, maximum: int, calls: list[tuple[int, int, int | None]], cut_after: int | None
) -> None:
    """However calls start, end, are cancelled or lose their connection: never too many run, and all are given back."""

    async def run() -> None:
        async with sharing(valkey, lease=1.5 if cut_after is None else UNTIL_IT_ENDS) as shared:

            async def make(start: int, length: int, cancelled: int | None) -> None:
                await asyncio.sleep(start / 1000)
                if cancelled is None:
                    await shared.call(caller(maximum), length / 1000)
                else:
                    await shared.cancelled(caller(maximum), length / 1000, after=cancelled / 1000)

            if cut_after is not None:
                asyncio.get_running_loop().call_later(cut_after / 1000, shared.proxy.cut)
            await asyncio.gather(*(make(*call) for call in calls))
            assert shared.most_running <= maximum
            assert shared.refused == 0 or len(calls) > maximum
            await shared.counts_none()

    asyncio.run(run())


async def test_slow_responses_delay_no_call_beyond_the_patience(valkey: Valkey) -> None:
    """With 200 ms for each response, a call is delayed by 0.25 s in all, and is counted once a connection is there."""
    slow = Caller("t", "k", limits=Limits(1000, 100, operations={"read": Limits(1000, 100)}))
    quotas: list[Quota] = []
    async with sharing(valkey, delay=0.2, patience=PATIENCE_SECONDS) as shared:
        delays = []

        async def call() -> None:
            started = time.monotonic()
            async with shared.gate.passing(slow, "read", tell=quotas.append):
                pass
            delays.append(time.monotonic() - started)

        async with asyncio.timeout(30):
            while len(quotas) < 3:
                await call()
                await asyncio.sleep(0.05)
        slow_ones = [delay for delay in delays if delay > 0.1]
        assert shared.proxy.connections == 1
        assert median(slow_ones) >= PATIENCE_SECONDS * 0.8, slow_ones
        assert min(slow_ones) <= PATIENCE_SECONDS * 1.4, slow_ones  # others may take longer on a busy machine
        await shared.counts_none()


async def test_a_silent_server_delays_few_calls(valkey: Valkey) -> None:
    """If no response comes, calls that arrive together wait once for as long as the patience, and the next ones not."""
    async with sharing(valkey, delay=UNTIL_IT_ENDS, patience=PATIENCE_SECONDS) as shared:
        started = time.monotonic()
        await asyncio.gather(*(shared.call(caller(1), 0) for _ in range(100)))
        for _ in range(100):
            await shared.call(caller(1), 0)
        assert shared.admitted == 200
        assert PATIENCE_SECONDS <= time.monotonic() - started < 40 * PATIENCE_SECONDS  # of 200 calls


async def test_a_server_that_takes_no_writes_is_as_good_as_none(valkey: Valkey) -> None:
    """If it refuses to write, such as when its memory is full, calls are let through, and counted again afterwards."""
    one = Caller("t", "k", limits=Limits(max_in_flight=1))
    async with sharing(valkey, patience=10.0) as shared:
        await shared.store.config_set("min-replicas-to-write", 1)
        try:
            await asyncio.gather(*(shared.call(one, 0.05) for _ in range(3)))
            assert (shared.admitted, shared.refused) == (3, 0)
        finally:
            await shared.store.config_set("min-replicas-to-write", 0)
        async with asyncio.timeout(30):
            while not shared.refused:
                await asyncio.gather(*(shared.call(one, 0.05) for _ in range(3)))
        await shared.counts_none()


async def test_a_response_at_the_time_of_its_timeout(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process was stopped for longer than a response may take, no request waits forever."""
    monkeypatch.setattr("berth.adapters.valkey.link.SILENCE_SECONDS", 0.2)
    link = Link(valkey.url().replace("valkey", "redis"))
    sent, *late = link.request("PING"), link.request("BLPOP", "none", 0.1), link.request("PING"), link.request("PING")
    await sent
    time.sleep(0.3)  # noqa: ASYNC251 - the whole process must stop
    _, waiting = await asyncio.wait(late, timeout=5)
    await link.close()
    assert not waiting


def _ignore(_: Quota) -> None:
    """Take note of nothing."""
