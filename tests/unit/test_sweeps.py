"""What a sweep removes of what was deleted, what it gives back, and what it leaves alone."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import REMOVALS
from berth.adapters.sql.idempotency import SqlIdempotency
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.upkeep.store import SqlUpkeep
from berth.core.errors import InvalidRequestError
from berth.core.hosted.steady_clock import SteadyClock
from berth.core.hosted.sweeper import Retention, Sweeper, SweepResult
from berth.core.ports.file_store import FileRecord
from berth.core.ports.idempotency_store import IdempotencyRecord, Slot
from berth.core.ports.pages import Pagination
from berth.v1.file_pb2 import File
from support.fakes.records import OLLAMA, ROOMY, add_files, container, listed, listed_files
from support.fakes.stores import FixedClock
from support.servers.hosted import Kept, sweeper

DAY = 86_400


def stored_file(file_id: str, key: str) -> FileRecord:
    """Return a file of the Files API: a hosted one, unless `key` is that of a provider."""
    file = File(id=file_id, object="file", bytes=10, created_at=1, filename="a", purpose="batch", status="processed")
    if key:
        return FileRecord(file, "ours", OLLAMA, key=key)
    digest = sha256(file_id.encode()).hexdigest()
    return FileRecord(file, "ours", OLLAMA, "text/plain", digest, f"blob of {file_id}")


def counts(kept: Kept) -> list[int]:
    """Return the numbers of rows of containers, container files, files and idempotency keys."""
    with closing(sqlite3.connect(kept.folder / "berth.db")) as connection:
        tables = ("containers", "files", "tenant_files", "idempotency")
        return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608 - constants


def size(kept: Kept) -> int:
    return (kept.folder / "berth.db").stat().st_size


async def refusal(page: Awaitable[object]) -> str:
    """Return the message of the error of a list whose cursor is unknown."""
    with pytest.raises(InvalidRequestError) as caught:
        await page
    assert (caught.value.param, caught.value.code) == ("after", "invalid_value")
    return caught.value.message


@pytest.fixture
def swept(kept: Kept) -> Sweeper:
    return sweeper(kept.database, kept.blobs, clock=kept.clock, retention_seconds=10**9, tombstone_seconds=30 * DAY)


@pytest.mark.parametrize("key", ["", "main"])
async def test_deleted_rows_go_after_their_time(kept: Kept, swept: Sweeper, key: str) -> None:
    """Hosted or not, rows of what was deleted mark positions for thirty days; then they are as if they never were."""
    for name in ("c1", "c2", "box"):
        await kept.store.add_container(replace(container(name), key=key))
        await kept.file_store.add(stored_file(f"file-{name}", key), quotas=ROOMY)
    await add_files(kept.store, "f1", "f2")
    await kept.store.delete_container("ours", "c2")
    await kept.store.delete_file("ours", "box", "f2")
    await kept.file_store.delete("ours", "file-c2")
    cursors: dict[str, Callable[[str], Awaitable[object]]] = {
        "c2": lambda after: listed(kept.store, Pagination(9, after=after)),
        "f2": lambda after: listed_files(kept.store, Pagination(9, after=after)),
        "file-c2": lambda after: kept.file_store.list("ours", Pagination(9, after=after)),
    }
    kept.clock.advance(30 * DAY)
    assert await swept.sweep() == SweepResult()
    assert await cursors["c2"]("c2") == (["c1"], False)
    assert await cursors["f2"]("f2") == (["f1"], False)
    kept.clock.advance(1)
    result = await swept.sweep()
    assert result is not None
    assert result._replace(bytes=0) == SweepResult(rows=3)
    for removed, page in cursors.items():
        assert await refusal(page(removed)) == (await refusal(page("never"))).replace("never", removed)
    assert counts(kept) == [2, 1, 2, 0]
    assert await listed(kept.store, Pagination(9)) == (["box", "c1"], False)
    assert await listed_files(kept.store, Pagination(9)) == (["f1"], False)


async def test_a_removed_id_may_be_used_again(kept: Kept, swept: Sweeper) -> None:
    """A provider that gives an id a second time, long after it was deleted, is believed."""
    await kept.store.add_container(replace(container("box"), key="main"))
    await kept.store.delete_container("ours", "box")
    kept.clock.advance(31 * DAY)
    await swept.sweep()
    await kept.store.add_container(replace(container("box", name="new"), key="main"))
    assert (await kept.store.get_container("ours", "box")).container.name == "new"


async def test_rows_go_a_few_at_a_time(kept: Kept) -> None:
    """A step removes no more rows than it is told to, files before containers."""
    await kept.store.add_container(container("box"))
    await add_files(kept.store, "f1", "f2", "f3")
    await kept.file_store.add(stored_file("file-1", ""), quotas=ROOMY)
    await kept.store.delete_container("ours", "box")
    await kept.file_store.delete("ours", "file-1")
    upkeep, later = SqlUpkeep(kept.database), kept.clock.now + 1
    left = []
    for _ in range(4):
        await upkeep.remove_deleted(deleted_before=later, limit=2)
        left.append(counts(kept)[:3])
    assert left == [[1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


async def test_a_file_that_seems_deleted_after_its_container(kept: Kept, swept: Sweeper) -> None:
    """A file that was deleted while the clock was ahead goes later than its container, and is seen by nobody."""
    await kept.store.add_container(container("box"))
    await add_files(kept.store, "f1")
    kept.clock.advance(DAY)
    await kept.store.touch_container("ours", "box")
    await kept.store.delete_file("ours", "box", "f1")
    kept.clock.advance(-DAY)
    await kept.store.delete_container("ours", "box")
    kept.clock.advance(30 * DAY + 1)
    await swept.sweep()
    assert counts(kept) == [0, 1, 0, 0]
    kept.clock.advance(DAY)
    await swept.sweep()
    assert counts(kept) == [0, 0, 0, 0]
    assert kept.database._writer._connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


@pytest.mark.parametrize("query", REMOVALS)
def test_deleted_rows_are_found_by_their_time(kept: Kept, query: str) -> None:
    """What is to be removed is found by an index, in the order of its deletion, however many other rows there are."""
    plan = kept.database._reads.execute(f"EXPLAIN QUERY PLAN {query}", (0, 100)).fetchall()
    steps = [row[3] for row in plan]
    assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step]
    assert any("_by_deletion (deleted_at>? AND deleted_at<?)" in step for step in steps)


async def test_expired_keys_go(kept: Kept, swept: Sweeper) -> None:
    """Records of idempotency keys are removed when they have expired, also if no key is ever used again."""
    store = SqlIdempotency(kept.database)
    for number in range(250):
        record = IdempotencyRecord("create", f"a{number}", "me", 0, expires_at=kept.clock.now + DAY + number // 249)
        await store.acquire(Slot("ours", b"%d" % number), record, now=kept.clock.now)
    kept.clock.advance(DAY)
    result = await swept.sweep()
    assert result is not None
    assert result._replace(bytes=0) == SweepResult(keys=249)
    assert counts(kept)[3] == 1


async def test_space_is_given_back(kept: Kept, swept: Sweeper) -> None:
    """After many rows were removed the database file is about as small as before there were any."""
    before = size(kept)
    for number in range(300):
        await kept.store.add_container(container(f"c{number}", name="x" * 4000))
    for number in range(300):
        await kept.store.delete_container("ours", f"c{number}")
    await kept.database.tidy()
    large = size(kept)
    kept.clock.advance(31 * DAY)
    result = await swept.sweep()
    await kept.database.tidy()
    assert result is not None
    assert result.rows == 300
    assert result.bytes == large - size(kept) > 1_000_000
    assert size(kept) < before + 200_000
    assert (kept.folder / "berth.db-wal").stat().st_size == 0


async def test_an_older_database_reuses_its_space(tmp_path: Path) -> None:
    """A database that cannot give space back uses it again; a VACUUM makes it one that can."""
    path, clock = tmp_path / "berth.db", FixedClock()
    with closing(SqliteDatabase.open(f"sqlite:///{path}")):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    sizes, released = [], []
    for attempt in range(3):
        with closing(SqliteDatabase.open(f"sqlite:///{path}")) as database:
            store, upkeep = SqlStore(database, now=clock), SqlUpkeep(database)
            names = [f"c{attempt}-{number}" for number in range(100)]
            for name in names:
                await store.add_container(container(name, name="x" * 4000))
            for name in names:
                await store.delete_container("ours", name)
            assert await upkeep.remove_deleted(deleted_before=clock.now + 1, limit=100) == 100
            released.append(await upkeep.release_space())
        sizes.append(path.stat().st_size)
        if attempt == 1:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                connection.execute("VACUUM")
    assert sizes[1] <= sizes[0] * 1.1
    assert released[:2] == [0, 0]
    assert released[2] > 200_000
    assert sizes[2] < sizes[1] / 2


async def test_a_clock_jump_removes_nothing(kept: Kept) -> None:
    """Three days ahead and back: containers and files that were not due are still there, also after a restart."""
    monotonic = FixedClock(0)

    def started() -> Sweeper:
        clock = SteadyClock(now=kept.clock, monotonic=monotonic)
        rows = (kept.store, kept.file_store, kept.blobs, SqlUpkeep(kept.database, now=kept.clock))
        return Sweeper(*rows, clock=clock, retention=Retention(DAY, DAY, usage_days=400))

    await kept.store.add_container(container("box"))
    await add_files(kept.store, "f1", "f2")
    await kept.store.delete_file("ours", "box", "f2")
    expiring = stored_file("file-1", "")
    expiring.file.expires_at = kept.clock.now + 2 * DAY
    await kept.file_store.add(expiring, quotas=ROOMY)
    running = started()
    assert await running.sweep() == SweepResult()
    for jump in (3 * DAY, -3 * DAY, 3 * DAY):
        kept.clock.advance(jump)
        assert await running.sweep() is None
        assert await started().sweep() is None
    kept.clock.advance(-3 * DAY)
    assert await running.sweep() is None
    assert await started().sweep() is None
    assert counts(kept) == [1, 2, 1, 0]
    assert await listed_files(kept.store, Pagination(9)) == (["f1"], False)
    assert (await kept.file_store.get("ours", "file-1")).file.id == "file-1"
    for clock in (kept.clock, monotonic):
        clock.advance(3 * DAY)
    result = await running.sweep()
    assert result is not None
    assert result[:4] == (1, 1, 0, 1)


async def test_forgotten_rows_go_with_the_next_sweep(kept: Kept) -> None:
    """Adopted containers go after the retention, created ones later, and the rows of forgotten ones at once."""
    for number, name in enumerate(("first", "second", "third")):
        record = replace(container(name, provider=OLLAMA), key="direct", adopted_at=kept.clock.now + number)
        await kept.store.adopt(record, keep=2)
    await kept.store.add_container(replace(container("created", provider=OLLAMA), key="main"))
    sweeps = sweeper(kept.database, kept.blobs, clock=kept.clock, retention_seconds=3600, tombstone_seconds=30 * DAY)
    await sweeps.sweep()
    assert await listed(kept.store, Pagination(9)) == (["created", "third", "second"], False)
    assert counts(kept)[0] == 3
    kept.clock.advance(2 * 3600)
    assert (await sweeps.sweep()) == SweepResult(containers=2, rows=2)
    assert await listed(kept.store, Pagination(9)) == (["created"], False)
    assert counts(kept)[0] == 1
    kept.clock.advance(30 * DAY)
    assert (await sweeps.sweep()) == SweepResult(containers=1, rows=1)
    assert counts(kept)[0] == 0
