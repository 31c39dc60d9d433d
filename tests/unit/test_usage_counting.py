"""How containers, minutes and stored bytes are counted with their rows, by day, whatever ends them."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Database
from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.upkeep.store import SqlUpkeep
from berth.adapters.sql.usage.store import SqlUsage
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.ports.container_store import ContainerRecord
from berth.core.ports.file_store import FileRecord
from berth.core.ports.pages import Pagination
from berth.core.ports.usage_store import CallCounts, CallsOf, UsageFilter, UsageRow
from berth.core.usage.minutes import DAY_SECONDS, minutes_begun
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, Container, ExpiresAfter
from berth.v1.file_pb2 import File
from support.fakes.records import OLLAMA, ROOMY, container, file
from support.fakes.stores import FixedClock
from support.servers.databases import KINDS, opened

MIDNIGHT = 20_000 * DAY_SECONDS
ALL = UsageFilter(tenant="ours")


class Stores:
    """The stores of one database, with one clock."""

    def __init__(self, database: Database, clock: FixedClock) -> None:
        self.clock = clock
        self.containers = SqlStore(database, now=clock)
        self.files = SqlFiles(database, now=clock)
        self.usage = SqlUsage(database, now=clock)
        self.upkeep = SqlUpkeep(database, now=clock)

    async def add(self, name: str, *, key: str | None = "first", **fields: object) -> ContainerRecord:
        """Add a container that is created now."""
        record = replace(container(name, provider=OLLAMA), created_by=key, key=str(fields.pop("at", "")))
        record.container.created_at = record.container.last_active_at = self.clock.now
        for field, value in fields.items():
            if isinstance(value, ExpiresAfter):
                record.container.expires_after.CopyFrom(value)
            else:
                setattr(record.container, field, value)
        await self.containers.add_container(record)
        return record

    async def rows(self, *, settle: bool = True) -> list[UsageRow]:
        """Return all rows of the tenant, oldest first."""
        if settle:
            await self.usage.settle(tenant="ours")
        return list((await self.usage.list_usage(ALL, Pagination(1000, descending=False))).data)

    async def minutes(self, *, settle: bool = True) -> dict[int, tuple[int, int]]:
        """Return the minutes and the billed minutes of each day, counted from the midnight of these tests."""
        days: dict[int, tuple[int, int]] = {}
        for row in await self.rows(settle=settle):
            minutes, billed = days.get(row.day - 20_000, (0, 0))
            minutes += sum(part.minutes for part in row.minutes)
            days[row.day - 20_000] = minutes, billed + sum(part.minutes for part in row.billed)
        return days


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    async with opened(request.param, request, tmp_path) as database:
        yield Stores(database, FixedClock(MIDNIGHT))


async def test_a_deleted_container_has_the_minutes_that_began(stores: Stores) -> None:
    """A begun minute counts as one, and at least five are billed."""
    await stores.add("box", memory_limit="4g")
    stores.clock.advance(61)
    await stores.containers.delete_container("ours", "box")
    (row,) = await stores.rows(settle=False)
    assert (row.containers, row.key, row.provider) == (1, "first", "ollama")
    assert [tuple(part) for part in row.minutes] == [("4g", 1, 2, 5)]


async def test_an_idle_container_ends_when_it_expires(stores: Stores) -> None:
    """Its minutes are the same whether it is deleted, purged, swept or only asked for, and whenever that happens."""
    for name in ("deleted", "purged", "swept", "asked for"):
        await stores.add(name)
    stores.clock.advance(20 * 60 + 1)
    await stores.upkeep.close_meters()
    stores.clock.advance(3600)
    await stores.containers.delete_container("ours", "deleted")
    await stores.containers.purge(retention_seconds=0, limit=10)
    assert await stores.minutes() == {0: (80, 80)}
    assert await stores.minutes() == {0: (80, 80)}


async def test_use_prolongs_the_minutes(stores: Stores) -> None:
    """They end twenty minutes after the last use, and are counted only once when they are asked for in between."""
    await stores.add("box")
    stores.clock.advance(600)
    await stores.containers.touch_container("ours", "box")
    assert await stores.minutes() == {0: (10, 10)}
    stores.clock.advance(86_400)
    assert await stores.minutes() == {0: (30, 30)}


async def test_a_day_ends_between_two_minutes(stores: Stores) -> None:
    """A minute belongs to the day in which it begins; what is billed at least belongs to the day of the creation."""
    stores.clock.now = MIDNIGHT - 90
    await stores.add("box")
    stores.clock.now = MIDNIGHT + 8 * 60
    await stores.containers.delete_container("ours", "box")
    assert await stores.minutes() == {-1: (2, 5), 0: (8, 5)}


async def test_a_container_of_several_days_is_in_each(stores: Stores) -> None:
    """Nothing has to be written meanwhile."""
    await stores.add("box", expires_after=ExpiresAfter(minutes=2000))
    await stores.add("idle")
    for _ in range(3):
        stores.clock.advance(86_400)
        await stores.containers.touch_container("ours", "box")
    await stores.containers.delete_container("ours", "box")
    await stores.containers.delete_container("ours", "idle")
    assert await stores.minutes() == {0: (1460, 1460), 1: (1440, 1440), 2: (1440, 1440)}


async def test_a_passthrough_container_goes_on_when_its_provider_says_so(stores: Stores) -> None:
    """A meter that was closed counts what was missed when the provider reports a later use, or that it expired."""
    record = await stores.add("box", at="main")
    stores.clock.advance(3600)
    await stores.upkeep.close_meters()
    assert await stores.minutes() == {0: (20, 20)}
    record.container.last_active_at = stores.clock.now
    await stores.containers.refresh_container("ours", record.container)
    stores.clock.advance(60)
    assert await stores.minutes() == {0: (61, 61)}
    record.container.status = CONTAINER_STATUS_EXPIRED
    await stores.containers.refresh_container("ours", record.container)
    stores.clock.advance(3600)
    assert await stores.minutes() == {0: (61, 61)}


async def test_a_provider_may_report_nothing(stores: Stores) -> None:
    """Without times of its own the container begins now, has 1 GB, and ends after twenty minutes."""
    bare = ContainerRecord(Container(id="box"), "ours", OLLAMA, key="main", created_by="first")
    await stores.containers.add_container(bare)
    stores.clock.advance(86_400 * 30)
    (row,) = await stores.rows()
    assert [tuple(part) for part in row.minutes] == [("1g", 1, 20, 20)]


async def test_what_an_earlier_version_wrote_is_not_counted(stores: Stores) -> None:
    """A container without the name of a key has no meter, and neither have its files."""
    await stores.add("box", key=None)
    await stores.containers.add_file("ours", file("f1"), quotas=ROOMY)
    stores.clock.advance(600)
    await stores.containers.delete_container("ours", "box")
    assert await stores.rows() == []


async def test_stored_bytes_count_from_upload_to_delete(stores: Stores) -> None:
    """Each byte counts for the seconds that it is stored, on the days on which it is."""
    stores.clock.now = MIDNIGHT - 100
    await stores.add("box")
    await stores.containers.add_file("ours", file("f1", size=1000), quotas=ROOMY)
    stores.clock.now = MIDNIGHT + 50
    await stores.containers.add_file("ours", file("f2", size=10), quotas=ROOMY)
    stores.clock.advance(50)
    await stores.containers.delete_file("ours", "box", "f1")
    stores.clock.advance(50)
    await stores.containers.delete_container("ours", "box")
    stores.clock.advance(5000)
    assert {row.day - 20_000: row.byte_seconds for row in await stores.rows()} == {-1: 100_000, 0: 100_000 + 1000}


async def test_files_of_an_expired_container_count_until_it_expired(stores: Stores) -> None:
    """It does not matter how late the sweep finds it, and on how many days it was counted too long before that."""
    await stores.add("box")
    await stores.containers.add_file("ours", file("f1", size=3), quotas=ROOMY)
    stores.clock.advance(86_400 + 7200)
    await stores.containers.delete_container("ours", "box")
    assert sum(row.byte_seconds for row in await stores.rows()) == 3 * 20 * 60


async def test_files_outside_of_containers_count_too(stores: Stores) -> None:
    """They count until they are deleted, or have expired, however late they are purged."""
    for name, expires_at in (("file-1", None), ("file-2", MIDNIGHT + 3600)):
        message = File(id=name, bytes=7, created_at=MIDNIGHT, filename="a", purpose="batch", expires_at=expires_at)
        digest = f"{name:0>64}"
        record = FileRecord(message, "ours", OLLAMA, "text/plain", digest, f"blob {name}", created_by="first")
        await stores.files.add(record, quotas=ROOMY)
    stores.clock.advance(1000)
    assert [row.byte_seconds for row in await stores.rows()] == [14_000]
    await stores.files.delete("ours", "file-1")
    stores.clock.advance(86_400)
    await stores.usage.settle()
    await stores.files.purge(limit=10)
    assert sum(row.byte_seconds for row in await stores.rows()) == 7_000 + 7 * 3600


async def test_strangers_leave_no_rows(stores: Stores) -> None:
    """The calls of a caller with a key of its own are counted once it has created something, and not before."""
    calls = {CallsOf("ours", "direct", "openai", 20_000, is_stranger=True): CallCounts(3, 10, 20)}
    await stores.usage.count_calls(calls)
    assert await stores.rows() == []
    await stores.add("box", key="direct")
    await stores.usage.count_calls(calls)
    await stores.usage.count_calls(calls)
    first, second = await stores.rows()
    assert (first.provider, first.calls) == ("ollama", 0)
    assert (second.provider, second.calls, second.bytes_in, second.bytes_out) == ("openai", 6, 20, 40)


async def test_rows_come_in_pages_and_go_when_they_are_old(stores: Stores) -> None:
    """Pages follow one another by the id of the last row, filters hold, and old rows are removed in steps."""
    for day in range(20_000, 20_006):
        for key in ("a", "b"):
            await stores.usage.count_calls({CallsOf("ours", key, "openai", day): CallCounts(1, 0, 0)})
            await stores.usage.count_calls({CallsOf("theirs", key, "", day): CallCounts(1, 0, 0)})
    seen: list[UsageRow] = []
    has_more, after = True, None
    while has_more:
        page, has_more = await stores.usage.list_usage(ALL, Pagination(5, after))
        seen += page
        after = page[-1].id
    assert [(row.day, row.key) for row in seen] == [(day, key) for day in range(20_005, 19_999, -1) for key in "ba"]
    some = UsageFilter("ours", "a", frozenset({"openai"}), 20_001, 20_002)
    assert [row.day for row in (await stores.usage.list_usage(some, Pagination(9))).data] == [20_002, 20_001]
    with pytest.raises(InvalidRequestError):
        await stores.usage.list_usage(UsageFilter("theirs"), Pagination(5, after))
    assert [await stores.upkeep.remove_usage(before_day=20_002, limit=5) for _ in range(3)] == [5, 3, 0]
    assert [row.day for row in await stores.rows()] == [day for day in range(20_002, 20_006) for _ in "ab"]


async def test_many_containers_are_counted_in_steps(stores: Stores) -> None:
    """More than one transaction reads their meters, and each is read once, of one tenant or of all."""
    for number in range(205):
        await stores.add(f"box-{number}", key=f"key-{number % 3}")
    assert sum(row.containers for row in await stores.rows()) == 205
    stores.clock.advance(90)
    await stores.usage.settle()
    assert await stores.minutes(settle=False) == {0: (205 * 2, 205 * 5)}
    stores.clock.advance(3600)
    await stores.upkeep.close_meters()
    assert await stores.minutes(settle=False) == {0: (205 * 20, 205 * 20)}


class Model:
    """Counts what the stores should count, from the times at which it does things itself."""

    def __init__(self) -> None:
        self.boxes: dict[str, list[int]] = {}  # start, last use, bytes
        self.minutes = self.containers = self.byte_seconds = 0

    def pass_time(self, now: int, seconds: int) -> None:
        """Count the bytes of each container that is not expired, for each second."""
        for _, used, size in self.boxes.values():
            self.byte_seconds += size * max(0, min(seconds, used + 1200 - now))

    def end(self, name: str, now: int) -> None:
        """Count the minutes of a container that ends now, unless it has expired before."""
        start, used, _ = self.boxes.pop(name)
        self.minutes += minutes_begun(start, min(now, used + 1200))


@pytest.mark.parametrize("seed", range(2))
async def test_hundreds_of_operations_agree_with_a_simple_count(stores: Stores, seed: int) -> None:
    """Whatever is done in whatever order, with sweeps and questions in between, the sums are the same."""
    chance, model, clock, files = random.Random(seed), Model(), stores.clock, Counter[str]()  # noqa: S311 - a test
    for number in range(300):
        step = chance.choice([0, 1, 59, 60, 61, 500, 3000])
        model.pass_time(clock.now, step)
        clock.advance(step)
        action = chance.choice(["add", "file", "file", "delete", "sweep", "ask"])
        names = [name for name, (_, used, _) in model.boxes.items() if clock.now <= used + 1200]
        if action == "add":
            await stores.add(f"box-{number}")
            model.boxes[f"box-{number}"] = [clock.now, clock.now, 0]
            model.containers += 1
        elif action == "file" and names:
            name, size = chance.choice(names), chance.randrange(1000)
            await stores.containers.add_file("ours", file(f"f{number}", container_id=name, size=size), quotas=ROOMY)
            files[name] += 1
            model.boxes[name][1:] = [clock.now, model.boxes[name][2] + size]
        elif action == "delete" and model.boxes:
            name = chance.choice(list(model.boxes))
            await stores.containers.delete_container("ours", name)
            model.end(name, clock.now)
        elif action == "sweep":
            await stores.upkeep.close_meters()
        elif action == "ask":
            await stores.usage.settle()
    for name in list(model.boxes):
        model.end(name, clock.now)
    rows = await stores.rows()
    assert sum(row.containers for row in rows) == model.containers
    assert sum(part.minutes for row in rows for part in row.minutes) == model.minutes
    assert sum(row.byte_seconds for row in rows) == model.byte_seconds
    with pytest.raises(NotFoundError):
        await stores.containers.delete_container("ours", "never there")
