"""What ExecStore promises, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Transaction
from berth.adapters.sql.exec.store import SqlExecs, _append
from berth.adapters.sql.usage.store import SqlUsage
from berth.core.errors import (
    ContainerBusyError,
    ContainerExpiredError,
    InvalidRequestError,
    NotFoundError,
    StorageError,
)
from berth.core.exec.sandbox import Stream
from berth.core.exec.store import (
    LEASE_SECONDS,
    MAX_KEPT,
    MAX_MORE,
    ExecOutput,
    ExecOwner,
    FileChanges,
    RemovedFile,
    WrittenFile,
)
from berth.core.ports.blob_store import StoredContent
from berth.core.ports.container_store import Quotas
from berth.core.ports.pages import Pagination
from berth.core.ports.usage_store import UsageFilter
from support.fakes.records import add_files, container
from support.fakes.stores import FixedClock
from support.servers.databases import KINDS, opened
from support.servers.exec_stores import Stores

SMALL = Quotas(container_bytes=100, tenant_bytes=200)


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> AsyncIterator[Stores]:
    async with opened(request.param, request, tmp_path) as database:
        containers = SqlStore(database, now=clock)
        await containers.add_container(container("box"))
        yield Stores(SqlExecs(database, now=clock), containers, SqlUsage(database, now=clock), clock)


def written(path: str, content: str, *, size: int = 10) -> WrittenFile:
    stored = StoredContent(f"blob of {path} {content}", content, size, b"")
    return WrittenFile(f"/mnt/data/{path}", stored, f"cfile_{path}", "text/plain")


async def test_a_result_is_kept_with_its_output(stores: Stores) -> None:
    """An exec is running until it is finished; then it has its result and its output, after a number as well."""
    exec_ = await stores.start()
    assert (await stores.execs.get("ours", "box", exec_.id)).status == "running"
    await stores.execs.append(ExecOwner(exec_.id, "p"), [ExecOutput(2, Stream.STDOUT, "a\0")])
    assert await stores.execs.output("ours", "box", exec_.id) == [(2, "stdout", "a\0")]
    await stores.finish(exec_)
    found = await stores.execs.get("ours", "box", exec_.id)
    assert (found.status, found.outcome.type, found.outcome.exit_code) == ("completed", "exit", 0)
    assert await stores.execs.output("ours", "box", exec_.id) == [(2, "stdout", "a\0"), (3, "stderr", "b")]
    assert await stores.execs.output("ours", "box", exec_.id, after=2) == [(3, "stderr", "b")]


async def test_output_is_read_from_where_it_is_wanted(stores: Stores) -> None:
    """Who follows an exec gets what is new; the parts of its output that came before are not read again."""
    exec_ = await stores.start()
    parts = [
        [ExecOutput(2, Stream.STDOUT, "a"), ExecOutput(3, Stream.STDERR, "b")],
        [ExecOutput(4, Stream.STDOUT, "c")],
    ]
    for part in parts:
        await stores.execs.append(ExecOwner(exec_.id, "p"), part)

    async def after(sequence: int) -> list[str]:
        return [one.text for one in await stores.execs.output("ours", "box", exec_.id, after=sequence)]

    assert [await after(number) for number in range(6)] == [*[["a", "b", "c"]] * 2, ["b", "c"], ["c"], [], []]
    await stores.execs._database.write(
        lambda transaction: transaction.run("UPDATE exec_output SET events = ? WHERE sequence = 2", b"not read")
    )
    assert [await after(number) for number in (3, 4)] == [["c"], []]


async def test_output_that_is_added_again_is_there_once(stores: Stores) -> None:
    """If the answer to adding output is lost, it is added again, with what came since."""
    exec_ = await stores.start()
    output = [ExecOutput(2, Stream.STDOUT, "a"), ExecOutput(3, Stream.STDERR, "b")]
    for count in (1, 2):
        await stores.execs.append(ExecOwner(exec_.id, "p"), output[:count])
    assert await stores.execs.output("ours", "box", exec_.id) == output


@pytest.mark.parametrize("stores", ["postgres"], indirect=True)
async def test_output_that_is_added_at_the_end_is_there_once(stores: Stores) -> None:
    """Output that is being added while the result is stored does not stay beside that of the result."""
    exec_, adds, is_added = await stores.start(), asyncio.Event(), asyncio.Event()

    async def add(transaction: Transaction) -> None:
        await _append(transaction, ExecOwner(exec_.id, "p"), [ExecOutput(3, Stream.STDERR, "b")], now=stores.clock())
        adds.set()
        await is_added.wait()

    adding = asyncio.create_task(stores.execs._database.write(add))
    await adds.wait()
    finishing = asyncio.create_task(stores.finish(exec_))
    await asyncio.wait([finishing], timeout=0.3)
    is_added.set()
    await asyncio.gather(adding, finishing)
    assert [one.sequence for one in await stores.execs.output("ours", "box", exec_.id)] == [2, 3]


async def test_one_exec_at_a_time(stores: Stores) -> None:
    """While an exec is held no other can start in its container; after its end one can."""
    exec_ = await stores.start()
    with pytest.raises(ContainerBusyError):
        await stores.start("two")
    await stores.finish(exec_)
    await stores.start("two")


async def test_of_many_at_once_one_starts(stores: Stores) -> None:
    """Of several processes that start an exec in a container at the same time exactly one does."""
    starts = [stores.start(f"{number}", process=f"{number}") for number in range(8)]
    results = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, BaseException)] == [ContainerBusyError] * 7


async def test_an_exec_that_is_not_held_is_lost(stores: Stores) -> None:
    """When its lease is over an exec is lost: it cannot be finished or renewed, and another one can start."""
    exec_ = await stores.start()
    stores.clock.advance(LEASE_SECONDS)
    found = await stores.execs.get("ours", "box", exec_.id)
    assert (found.status, found.outcome.type) == ("completed", "lost")
    assert not (await stores.execs.renew(ExecOwner(exec_.id, "p"))).is_held
    with pytest.raises(NotFoundError):
        await stores.finish(exec_, changes=FileChanges([written("a", "x")]))
    assert await stores.paths() == {}
    await stores.start("two")
    assert (await stores.execs.get("ours", "box", exec_.id)).outcome.type == "lost"


async def test_a_lease_is_renewed_by_its_owner(stores: Stores) -> None:
    """The process that runs an exec can hold it for ever, which keeps the container active; another one cannot."""
    exec_ = await stores.start()
    for _ in range(30):
        stores.clock.advance(LEASE_SECONDS - 1)
        assert (await stores.execs.renew(ExecOwner(exec_.id, "p"))).is_held
    record = await stores.containers.get_container("ours", "box")
    assert record.container.last_active_at == stores.clock()
    assert not (await stores.execs.renew(ExecOwner(exec_.id, "other"))).is_held
    with pytest.raises(NotFoundError):
        await stores.finish(exec_, process="other")
    stores.clock.advance(1)
    assert (await stores.execs.signals(ExecOwner(exec_.id, "p"))).is_held


async def test_an_exec_can_be_cancelled_by_any_process(stores: Stores) -> None:
    """What asks to end an exec is seen by the process that runs it."""
    exec_ = await stores.start()
    assert await stores.execs.signals(ExecOwner(exec_.id, "p")) == (True, False)
    await stores.execs.cancel("ours", "box", exec_.id)
    assert await stores.execs.signals(ExecOwner(exec_.id, "p")) == (True, True)
    assert await stores.execs.renew(ExecOwner(exec_.id, "p")) == (True, True)


async def test_execs_go_with_their_container(stores: Stores) -> None:
    """The execs of a deleted container are not found, not held and cannot be finished."""
    exec_ = await stores.start()
    await stores.containers.delete_container("ours", "box")
    assert not (await stores.execs.signals(ExecOwner(exec_.id, "p"))).is_held
    with pytest.raises(NotFoundError):
        await stores.execs.get("ours", "box", exec_.id)
    with pytest.raises(NotFoundError):
        await stores.finish(exec_)
    with pytest.raises(NotFoundError):
        await stores.start("two")


async def test_another_tenant_sees_nothing(stores: Stores) -> None:
    """An exec is found with the tenant and the container that it belongs to, and with no others."""
    exec_ = await stores.start(attempt="try")
    for tenant, box in (("theirs", "box"), ("ours", "other")):
        with pytest.raises(NotFoundError):
            await stores.execs.get(tenant, box, exec_.id)
        with pytest.raises(NotFoundError):
            await stores.execs.cancel(tenant, box, exec_.id)
        assert await stores.execs.output(tenant, box, exec_.id) == []
        assert await stores.execs.list(tenant, box, Pagination(9)) == ([], False)
    assert await stores.execs.find("theirs", "try") is None
    with pytest.raises(NotFoundError):
        await stores.execs.start("theirs", exec_, process="p", attempt=None, key="theirs")


async def test_an_attempt_starts_one_exec(stores: Stores) -> None:
    """An attempt is found by its mark, and cannot start a second exec."""
    exec_ = await stores.start(attempt="try")
    assert await stores.execs.find("ours", "try") == ("box", exec_.id)
    await stores.finish(exec_)
    with pytest.raises(StorageError):
        await stores.start("two", attempt="try")


async def test_an_expired_container_starts_nothing(stores: Stores) -> None:
    """In an expired container nothing can start, and what ran before can be read."""
    exec_ = await stores.start()
    await stores.finish(exec_)
    stores.clock.advance(3600)
    with pytest.raises(ContainerExpiredError):
        await stores.start("two")
    assert (await stores.execs.get("ours", "box", exec_.id)).outcome.type == "exit"


async def test_the_last_execs_are_kept_and_listed_in_order(stores: Stores) -> None:
    """Only the last ones are kept; pages have them in the order of creation, in both directions."""
    for number in range(MAX_KEPT + MAX_MORE):
        await stores.finish(await stores.start(f"{number:03}"))
    assert await stores.execs.get("ours", "box", "exec_000")
    await stores.finish(await stores.start("120"))
    with pytest.raises(NotFoundError):
        await stores.execs.get("ours", "box", "exec_020")
    assert await stores.execs.get("ours", "box", "exec_021")
    page = await stores.execs.list("ours", "box", Pagination(2))
    assert ([one.id for one in page.data], page.has_more) == (["exec_120", "exec_119"], True)
    page = await stores.execs.list("ours", "box", Pagination(2, "exec_119", descending=False))
    assert ([one.id for one in page.data], page.has_more) == (["exec_120"], False)
    with pytest.raises(InvalidRequestError):
        await stores.execs.list("ours", "box", Pagination(2, "exec_000"))


async def test_the_last_exec_of_a_session_is_kept(stores: Stores) -> None:
    """However many commands came since, a program learns which one was before it in its session, of the last ones."""
    await stores.finish(await stores.start("old", session="old"))
    await stores.finish(await stores.start("first", session="s"))
    await stores.finish(await stores.start("second", session="s"))
    for number in range(MAX_KEPT + MAX_MORE):
        session = f"s{number}" if number > MAX_MORE else None
        await stores.finish(await stores.start(f"{number:03}", session=session))
    with pytest.raises(NotFoundError):
        await stores.execs.get("ours", "box", "exec_first")
    assert [text.text for text in await stores.execs.output("ours", "box", "exec_second")] == ["a\0", "b"]
    await stores.finish(await stores.start("third", session="s"))
    assert stores.before == "exec_second"
    for number in range(MAX_MORE):
        await stores.finish(await stores.start(f"more{number}", session=f"s{MAX_MORE + 1}"))
    with pytest.raises(NotFoundError):
        await stores.execs.get("ours", "box", "exec_old")


async def test_changes_are_stored_together(stores: Stores) -> None:
    """A new file is the assistant's, a changed one keeps its id, a removed one is deleted, and sizes are counted."""
    await add_files(stores.containers, "f1", "f2")
    before = await stores.paths()
    kept, gone = sorted(before)
    exec_ = await stores.start()
    record = (await stores.containers.get_file("ours", "box", before[gone][0]))[1]
    changes = FileChanges(
        [written(kept.removeprefix("/mnt/data/"), "new content", size=7), written("made", "m", size=5)],
        [RemovedFile(record.file.id, record.sha256)],
    )
    stored = await stores.finish(exec_, changes=changes)
    assert await stores.paths() == {
        kept: (before[kept][0], 7, before[kept][2]),
        "/mnt/data/made": ("cfile_made", 5, "assistant"),
    }
    assert {file.path for file in stored.files} == {kept, "/mnt/data/made"}
    assert sorted(stored.unreferenced) == ["blob of f1", "blob of f2"]
    found = await stores.execs.get("ours", "box", exec_.id)
    assert [file.id for file in found.files] == [file.id for file in stored.files]
    changed = (await stores.containers.get_file("ours", "box", before[kept][0]))[1]
    assert (changed.sha256, changed.modified_at) == ("new content", stores.clock())


async def test_a_result_names_no_more_files_than_can_be_sent(stores: Stores) -> None:
    """All of 2001 files are stored; the result names 2000 of them, and each picture that was displayed."""
    exec_ = await stores.start()
    changes = FileChanges([written(f"{number:04}", "x") for number in range(2001)], displayed=["/mnt/data/2000"])
    stored = await stores.finish(exec_, changes=changes)
    found = await stores.execs.get("ours", "box", exec_.id)
    assert (len(stored.files), len(found.files)) == (2001, 2000)
    assert [display.file_id for display in found.displays] == ["cfile_2000"]


async def test_changes_beyond_a_quota_are_not_stored(stores: Stores) -> None:
    """If the container or its tenant would have too many bytes, nothing of the changes is stored, nor the result."""
    await stores.containers.add_container(container("other"))
    for quotas in (SMALL, Quotas(container_bytes=1000, tenant_bytes=100)):
        name = f"of {quotas.tenant_bytes}"
        exec_ = await stores.start(name)
        with pytest.raises(InvalidRequestError):
            await stores.finish(exec_, changes=FileChanges([written(name, "x", size=101)]), quotas=quotas)
        assert await stores.paths() == {}
        assert (await stores.execs.get("ours", "box", exec_.id)).status == "running"
        await stores.finish(exec_, changes=FileChanges([written(name, "x", size=100)]), quotas=quotas)
        removed = FileChanges([], [RemovedFile(f"cfile_{name}", "x")])
        await stores.finish(await stores.start(f"{name} again"), changes=removed, quotas=quotas)


async def test_commands_are_counted_for_their_key(stores: Stores) -> None:
    """Each start counts, on its day, and how long a finished one ran; what does not start or finish counts nothing."""
    exec_ = await stores.start()
    with pytest.raises(ContainerBusyError):
        await stores.start("two")
    for _ in range(7):  # until the next day
        stores.clock.advance(1_000)
        await stores.containers.touch_container("ours", "box")
    with pytest.raises(NotFoundError):  # it was lost meanwhile
        await stores.finish(exec_)
    exec_ = await stores.start("three")
    exec_.duration_ms = 1_500
    await stores.finish(exec_)
    page = await stores.usage.list_usage(UsageFilter(tenant="ours"), Pagination(10, descending=False))
    counted = [(row.day, row.key, row.provider, row.execs, row.exec_milliseconds) for row in page.data if row.execs]
    day = stores.clock.now // 86_400
    provider = counted[0][2]
    assert counted == [(day - 1, "ours", provider, 1, 0), (day, "ours", provider, 1, 1_500)]
    assert provider


async def test_a_command_counts_though_its_container_is_deleted(stores: Stores) -> None:
    """How long it ran is counted for its key; nothing for a container that the tenant never had."""
    await stores.start()
    await stores.containers.delete_container("ours", "box")
    for tenant, container_id in (("ours", "box"), ("ours", "other"), ("theirs", "box")):
        await stores.execs.count_lost(tenant, container_id, key="ours", milliseconds=1_500)
    page = await stores.usage.list_usage(UsageFilter(), Pagination(10, descending=False))
    assert [(row.tenant, row.exec_milliseconds) for row in page.data if row.exec_milliseconds] == [("ours", 1_500)]


async def test_the_same_content_is_stored_once(stores: Stores) -> None:
    """Of two files with the same content one blob is kept, and the other one is unreferenced."""
    exec_ = await stores.start()
    stored = await stores.finish(exec_, changes=FileChanges([written("a", "same"), written("b", "same")]))
    assert stored.unreferenced == ["blob of b same"]
    records = [(await stores.containers.get_file("ours", "box", f"cfile_{name}"))[1] for name in "ab"]
    assert {record.blob for record in records} == {"blob of a same"}


async def test_changes_of_the_api_meanwhile(stores: Stores) -> None:
    """A written file replaces what the API made at its path; a removed one stays if the API replaced its content."""
    await add_files(stores.containers, "f1", "f2")
    before = await stores.paths()
    first, second = sorted(before)
    exec_ = await stores.start()
    for path in (first, second):
        await stores.containers.delete_file("ours", "box", before[path][0])
    await add_files(stores.containers, "f3")
    (new,) = await stores.paths()
    changes = FileChanges(
        [written(first.removeprefix("/mnt/data/"), "x"), written(new.removeprefix("/mnt/data/"), "y")],
        [RemovedFile(before[second][0], "another"), RemovedFile((await stores.paths())[new][0], "another")],
    )
    await stores.finish(exec_, changes=changes)
    after = await stores.paths()
    assert set(after) == {first, new}
    assert after[first][0] == f"cfile_{first.removeprefix('/mnt/data/')}"
    assert after[new][0] == "f3"
