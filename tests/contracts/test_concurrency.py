"""What holds when several processes use one database: here, several open databases on the same rows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Database
from berth.adapters.sql.idempotency import SqlIdempotency
from berth.adapters.sql.inventory import SqlInventory
from berth.adapters.sql.postgres.connections import Settings
from berth.adapters.sql.postgres.database import PostgresDatabase
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.upkeep.store import SqlUpkeep
from berth.adapters.sql.usage.store import SqlUsage
from berth.core.caller import Budget, Caller
from berth.core.errors import BudgetExceededError, InvalidRequestError, NotFoundError
from berth.core.ports.container_store import ContainerStore, Quotas
from berth.core.ports.idempotency_store import IdempotencyRecord, Slot
from berth.core.ports.pages import Pagination
from berth.core.usage.budgets import Budgets
from berth.core.usage.prices import Prices, price_of_minute
from support.fakes.records import NOW, OLLAMA, ROOMY, container, file, listed
from support.fakes.stores import FixedClock, SequentialIds
from support.measuring.soak import soak, times
from support.servers.databases import KINDS, opened

PROCESSES = 4


@pytest.fixture(params=KINDS)
async def databases(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Database]]:
    """Open one database several times."""
    async with opened(request.param, request, tmp_path) as first, AsyncExitStack() as stack:
        others: list[Database] = []
        for _ in range(PROCESSES - 1):
            if request.param == "sqlite":
                other: Database = SqliteDatabase.open(f"sqlite:///{tmp_path}/berth.db")
            else:
                settings = Settings(request.getfixturevalue("postgres_url"), 5, prepares=True)
                other = await PostgresDatabase.open(settings)
            others.append(await stack.enter_async_context(aclosing(other)))
        yield [first, *others]


def stores_of(databases: list[Database]) -> list[SqlStore]:
    return [SqlStore(database, now=FixedClock(NOW)) for database in databases]


async def test_a_key_is_claimed_once(databases: list[Database]) -> None:
    """Of four processes that claim the same 200 idempotency keys, one gets each; the others get its record."""

    async def claim_all(number: int) -> list[IdempotencyRecord | None]:
        store = SqlIdempotency(databases[number])
        record = IdempotencyRecord("create", f"a{number}", f"p{number}", lease_until=NOW + 15, expires_at=NOW + 99)
        slots = [Slot("ours", key.to_bytes(4, "big")) for key in range(200)]
        return await asyncio.gather(
            *(store.acquire(slot, replace(record, attempt=f"{number}-{slot.key.hex()}"), now=NOW) for slot in slots)
        )

    found = await asyncio.gather(*map(claim_all, range(PROCESSES)))
    for claims in zip(*found, strict=True):
        (winner,) = (number for number, record in enumerate(claims) if record is None)
        assert {record.owner for record in claims if record} == {f"p{winner}"}


async def test_a_lapsed_key_is_claimed_once(databases: list[Database]) -> None:
    """A key whose owner has ended before anything was created goes to one of those who ask at the same time."""
    slot = Slot("ours", b"key")
    dead = IdempotencyRecord("create", "a", "dead", lease_until=NOW, expires_at=NOW + 99)
    assert await SqlIdempotency(databases[0]).acquire(slot, dead, now=NOW - 15) is None
    claims = [
        SqlIdempotency(databases[number]).acquire(
            slot, replace(dead, owner=f"p{number}", attempt=f"b{number}", lease_until=NOW + 15), now=NOW
        )
        for number in range(PROCESSES)
    ]
    assert (await asyncio.gather(*claims)).count(None) == 1


@pytest.mark.parametrize("quotas", [Quotas(500, 1 << 40), Quotas(1 << 40, 500)])
async def test_a_quota_holds(databases: list[Database], quotas: Quotas) -> None:
    """Of a hundred uploads at once, of ten bytes each, exactly the fifty that fit are stored."""
    stores = stores_of(databases)
    await stores[0].add_container(container("box"))
    added = await asyncio.gather(
        *(stores[number % PROCESSES].add_file("ours", file(f"f{number}"), quotas=quotas) for number in range(100)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, str) for outcome in added) == 50
    assert all(isinstance(outcome, str | InvalidRequestError) for outcome in added)
    assert await SqlInventory(databases[0]).wrong_sums() == []


async def test_a_budget_holds(databases: list[Database]) -> None:
    """Of thirty containers at once exactly the four that a budget of twenty minutes allows are created."""
    price = price_of_minute(0.03)
    caller, clock = Caller("ours", "first", budget=Budget(20 * price, "month")), FixedClock(NOW)
    charges = Budgets(SqlUsage(databases[0], now=clock), Prices({"ollama": {"1g": price}}), SequentialIds())

    async def create(number: int) -> None:
        record = replace(container(f"c{number}", provider=OLLAMA), created_by="first")
        charged = replace(record, charge=charges.charge(caller, OLLAMA, "1g"))
        await SqlStore(databases[number % PROCESSES], now=clock).add_container(charged)

    outcomes = await asyncio.gather(*map(create, range(30)), return_exceptions=True)
    assert outcomes.count(None) == 4
    assert sum(isinstance(outcome, BudgetExceededError) for outcome in outcomes) == 26


@soak
async def test_sums_hold_while_many_write(databases: list[Database], request: pytest.FixtureRequest) -> None:
    """Six writers add, copy and delete files in four containers: nothing deadlocks, and all sums are right."""
    stores = stores_of(databases)
    is_server = isinstance(databases[0], PostgresDatabase)
    deadlocks = request.getfixturevalue("postgres").log().count("deadlock") if is_server else 0  # of other tests
    names = [f"c{number}" for number in range(4)]
    for name in names:
        await stores[0].add_container(container(name))
    written = sum(await asyncio.gather(*(write_on(stores[n % PROCESSES], n, names) for n in range(6))))
    assert written > times(100, 1000)
    if is_server:
        assert request.getfixturevalue("postgres").log().count("deadlock") == deadlocks
    inventory = SqlInventory(databases[0])
    assert await inventory.wrong_sums() == []
    assert await inventory.mismatched_files(limit=1) == []


async def write_on(store: SqlStore, number: int, containers: list[str]) -> int:
    """Add, copy and delete files at random; return how often that succeeded. Contents are shared by all."""
    random, own, done = Random(number), list[tuple[str, str]](), 0  # noqa: S311 - a test
    for step in range(times(60, 1500)):
        name, file_id = random.choice(containers), f"f{number}-{step}"
        record = replace(file(file_id, container_id=name), sha256=f"{random.randrange(5)}" * 64)
        try:
            if own and random.random() < 0.4:
                await store.delete_file("ours", *own.pop(random.randrange(len(own))))
            elif random.random() < 0.3:
                await store.copy_file("ours", record, quotas=ROOMY)
                own.append((name, file_id))
            else:
                await store.add_file("ours", record, quotas=ROOMY)
                own.append((name, file_id))
        except NotFoundError:
            continue  # what was to be copied is gone
        done += 1
    return done


async def test_a_container_is_deleted_once(databases: list[Database]) -> None:
    """Of those who delete a container at the same time one succeeds, and files that are added meanwhile go with it."""
    stores = stores_of(databases)
    for number in range(5):
        name = f"c{number}"
        await stores[0].add_container(container(name))
        deletions = [store.delete_container("ours", name) for store in stores]
        uploads = [
            store.add_file("ours", file(f"{name}-{i}", container_id=name), quotas=ROOMY)
            for i, store in enumerate(stores)
        ]
        outcomes = await asyncio.gather(*deletions, *uploads, return_exceptions=True)
        assert sum(isinstance(outcome, NotFoundError) for outcome in outcomes[:PROCESSES]) == PROCESSES - 1
        assert all(isinstance(outcome, str | NotFoundError) for outcome in outcomes[PROCESSES:])
    assert await SqlInventory(databases[0]).wrong_sums() == []


async def test_one_content_is_one_blob(databases: list[Database]) -> None:
    """Files of the same content that are added at the same time share one blob."""
    stores = stores_of(databases)
    await stores[0].add_container(container("box"))
    same = [replace(file(f"f{number}"), sha256="0" * 64) for number in range(20)]
    blobs = await asyncio.gather(
        *(stores[number % PROCESSES].add_file("ours", record, quotas=ROOMY) for number, record in enumerate(same))
    )
    assert len(set(blobs)) == 1
    assert await databases[0].value("SELECT holders FROM blobs") == 20


async def test_a_reader_misses_nothing(databases: list[Database]) -> None:
    """A list in ascending order that goes on after what it saw last has everything that others add meanwhile."""
    stores, seen = stores_of(databases), list[str]()
    adding = asyncio.gather(
        *(stores[number % PROCESSES].add_container(container(f"c{number}")) for number in range(times(100, 1000)))
    )
    while not adding.done():
        seen += await read_on(stores[0], seen)
    await adding
    seen += await read_on(stores[0], seen)
    assert sorted(seen) == sorted(f"c{number}" for number in range(times(100, 1000)))


async def read_on(store: ContainerStore, seen: list[str]) -> list[str]:
    after = seen[-1] if seen else None
    page, _ = await listed(store, Pagination(limit=1000, after=after, descending=False))
    await asyncio.sleep(0)  # a read on SQLite never waits, and those who add need their turn
    return page


async def test_one_process_sweeps(databases: list[Database]) -> None:
    """A process may sweep until it says that it has finished, or its lease ends."""
    clock = FixedClock(NOW)
    sweeps = [SqlUpkeep(database, owner=f"p{i}", now=clock) for i, database in enumerate(databases)]
    claimed = await asyncio.gather(*(upkeep.claim(seconds=60) for upkeep in sweeps))
    assert sorted(claimed) == [False, False, False, True]
    leader = sweeps[claimed.index(True)]
    assert await leader.claim(seconds=60)
    await leader.release()
    first, second, *_ = sweeps
    assert await first.claim(seconds=60)
    assert not await second.claim(seconds=60)
    clock.advance(61)
    assert await second.claim(seconds=60)
    await first.release()
    assert not await first.claim(seconds=60)
