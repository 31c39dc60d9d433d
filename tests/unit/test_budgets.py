"""Budgets of keys: what counts as spent, when, and what a reservation does; and the counter of calls."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Database
from berth.adapters.sql.usage.store import SqlUsage
from berth.core.caller import Budget, Caller
from berth.core.errors import BudgetExceededError, StorageError
from berth.core.ports.pages import Pagination
from berth.core.ports.usage_store import CallCounts, CallsOf, UsageFilter
from berth.core.usage.budgets import RESERVATION_SECONDS, Budgets, start_of_period
from berth.core.usage.calls import CallCounter
from berth.core.usage.minutes import day_of
from berth.core.usage.prices import NANO, BilledMinutes, Prices, price_of_minute
from berth.v1.provider_pb2 import Provider
from support.fakes.records import OLLAMA, container
from support.fakes.stores import FixedClock, SequentialIds
from support.servers.databases import KINDS, opened
from support.servers.service import eventually

NOW = int(datetime(2026, 11, 30, 23, 0, tzinfo=UTC).timestamp())
MINUTE = price_of_minute(0.03)
PRICES = Prices({"ollama": {"1g": MINUTE}})
CALLER = Caller("ours", "first", budget=Budget(20 * MINUTE, "month"))


class Place:
    """A store with budgets, and a clock."""

    def __init__(self, database: Database) -> None:
        self.clock = FixedClock(NOW)
        self.usage = SqlUsage(database, now=self.clock)
        self.store = SqlStore(database, now=self.clock)
        self.budgets = Budgets(self.usage, PRICES, SequentialIds())

    async def add(self, name: str, caller: Caller = CALLER, provider: Provider = OLLAMA) -> None:
        """Add a hosted container of a caller, charged to its budget."""
        record = replace(container(name, provider=provider), created_by=caller.name)
        record.container.created_at = record.container.last_active_at = self.clock.now
        await self.store.add_container(replace(record, charge=self.budgets.charge(caller, provider, "1g")))

    async def left(self, caller: Caller = CALLER) -> float:
        """Return how many minutes are left of the caller's budget."""
        remaining = await self.budgets.remaining(caller)
        assert remaining is not None
        return remaining / MINUTE


@pytest.fixture(params=KINDS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with opened(request.param, request, tmp_path) as database:
        yield Place(database)


def test_prices_are_exact() -> None:
    """The public price of twenty minutes is a whole number of nano-dollars per minute."""
    assert MINUTE == 1_500_000
    assert MINUTE * 20 == 0.03 * NANO


def test_an_unknown_memory_size_costs_the_most() -> None:
    """One that only a provider can have costs as much as its most expensive one, and is no way around a budget."""
    prices = Prices({"openai": {"1g": 3, "64g": 192}})
    sizes = {size: prices.cost([BilledMinutes("openai", size, 1)]) for size in ("1g", "4g", "64g", "1G", "128g")}
    assert sizes == {"1g": 3, "4g": 0, "64g": 192, "1G": 192, "128g": 192}
    assert prices.cost([BilledMinutes("groq", "128g", 1)]) == 0


def test_periods_begin_in_utc() -> None:
    """A day begins at midnight and a month on its first day."""
    day, month = (start_of_period(Budget(1, period), NOW) for period in ("day", "month"))
    assert datetime.fromtimestamp(day, UTC) == datetime(2026, 11, 30, tzinfo=UTC)
    assert datetime.fromtimestamp(month, UTC) == datetime(2026, 11, 1, tzinfo=UTC)


async def test_running_containers_are_spent_as_they_run(place: Place) -> None:
    """The first five minutes at once, further ones as they begin, counted or not, until the container ends."""
    await place.add("box")
    assert await place.left() == 15
    place.clock.advance(5 * 60)
    assert await place.left() == 15
    place.clock.advance(1)
    assert await place.left() == 14
    await place.usage.settle()
    assert await place.left() == 14
    place.clock.advance(120)
    assert await place.left() == 12
    await place.store.delete_container("ours", "box")
    place.clock.advance(600)
    assert await place.left() == 12
    assert await place.budgets.remaining(Caller("ours", "first")) is None


async def test_no_more_is_created_when_a_running_container_has_spent_it(place: Place) -> None:
    """What is left may be too little, or less than nothing; other keys and what costs nothing are not affected."""
    await place.add("box")
    place.clock.advance(16 * 60)
    with pytest.raises(BudgetExceededError, match=r"^The budget of this key, \$0\.03 per month, does not suffice"):
        await place.add("another")
    await place.add("of another key", replace(CALLER, name="second"))
    await place.add("free", provider=Provider.PROVIDER_GROQ)
    place.clock.advance(10 * 60)
    assert await place.left() == 0


async def test_a_new_period_has_a_new_budget(place: Place) -> None:
    """Minutes that began before it, whether they were counted in time or not, are those of the last one."""
    place.clock.now = NOW + 50 * 60
    await place.add("box")
    place.clock.now = NOW + 60 * 60
    assert await place.left() == 20
    place.clock.advance(61)
    assert await place.left() == 18
    await place.usage.settle()
    assert await place.left() == 18


@pytest.mark.parametrize("seconds", [-86_400, -2, 2, 86_400])
async def test_a_provider_with_another_clock_is_charged_in_this_period(place: Place, seconds: int) -> None:
    """What is created as a month begins is charged to it, not to the last or next one, whatever the provider says."""
    place.clock.now = NOW + 3600
    for name in ("one", "another"):
        record = replace(container(name, provider=OLLAMA), created_by="first")
        record.container.created_at = record.container.last_active_at = place.clock.now + seconds
        await place.store.add_container(replace(record, charge=place.budgets.charge(CALLER, OLLAMA, "1g")))
    assert await place.left() == 10
    await place.usage.settle()
    (row,) = (await place.usage.list_usage(UsageFilter(tenant="ours"), Pagination(9))).data
    assert (row.day, row.containers) == (day_of(place.clock.now), 2)


async def fail(reserved: AbstractAsyncContextManager[object], place: Place, *, is_final: bool = False) -> None:
    """Fail while something is reserved."""
    error = StorageError("the provider failed")
    error.is_final = is_final
    async with reserved:
        assert await place.left() == 10
        raise error


async def test_a_reservation_holds_until_its_create_ends(place: Place) -> None:
    """It counts while the provider is asked, ends if nothing was made, and is spent when the container is added."""
    place.clock.now = NOW - 86_400
    charge = place.budgets.charge(CALLER, OLLAMA, "1g")
    async with place.budgets.reserved(charge) as held:
        assert await place.left() == 15
        record = replace(container("box", provider=OLLAMA), created_by="first", charge=held)
        record.container.created_at = record.container.last_active_at = place.clock.now
    await place.store.add_container(record)
    assert await place.left() == 15
    with pytest.raises(StorageError):
        await fail(place.budgets.reserved(charge), place)
    assert await place.left() == 15
    with pytest.raises(StorageError):
        await fail(place.budgets.reserved(charge), place, is_final=True)
    assert await place.left() == 10
    assert charge is not None
    for number in range(2):  # and then the process is killed
        await place.usage.reserve(replace(charge, reservation=f"{number}"), seconds=RESERVATION_SECONDS)
    with pytest.raises(BudgetExceededError):
        await place.usage.reserve(replace(charge, reservation="one more"), seconds=RESERVATION_SECONDS)
    place.clock.advance(RESERVATION_SECONDS + 1)
    assert await place.left() == 0  # the container has run meanwhile, and nothing is reserved any more


class Failing:
    """A store that fails until it is told to work."""

    def __init__(self) -> None:
        self.fails = True
        self.counted: dict[CallsOf, CallCounts] = {}

    async def count_calls(self, counts: Mapping[CallsOf, CallCounts]) -> None:
        """Keep the counts, or fail."""
        if self.fails:
            raise StorageError("The store's disk is full.")
        self.counted.update(counts)


async def test_calls_are_kept_while_the_store_fails() -> None:
    """They are stored when it works again, and the failure is reported once."""
    store, reported = Failing(), list[str]()
    counter = CallCounter(store, now=lambda: NOW, report=reported.append, flush_seconds=0.001)  # type: ignore[arg-type] # it counts calls only
    counter.count(Caller("ours", "first"), "openai", bytes_in=1, bytes_out=2)
    await eventually(lambda: bool(reported))
    counter.count(Caller("ours", "first"), "openai", bytes_in=1, bytes_out=2)
    store.fails = False
    await eventually(lambda: bool(store.counted))
    await counter.close()
    assert store.counted == {CallsOf("ours", "first", "openai", NOW // 86_400): CallCounts(2, 2, 4)}
    assert reported == ["The store's disk is full."]
