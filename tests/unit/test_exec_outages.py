"""Commands while the store fails for a moment, takes its time, or does what it was asked and gives no answer."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from berth.core.errors import StorageError
from berth.core.exec import execution, hosted
from berth.core.exec.sandbox import Stream
from berth.core.exec.store import LEASE_SECONDS, ExecOutput, ExecOwner
from berth.core.exec.transcript import MAX_SEQUENCE
from berth.core.hosted import patience
from berth.v1.container_exec_service_pb2 import CancelContainerExecRequest, CreateContainerExecRequest, ExecCode
from berth.v1.container_file_service_pb2 import DeleteContainerFileRequest
from berth.v1.exec_pb2 import Exec
from support.servers.execs import OURS, ExecWorld, box, events, exec_world, has_output, of, paths, shell, upload
from support.servers.hosted import Kept


def cancellation(exec_: Exec) -> CancelContainerExecRequest:
    """Return the request that ends a command."""
    return CancelContainerExecRequest(container_id=exec_.container_id, exec_id=exec_.id)


class Clock:
    """A clock that can be put forward, and which leases are counted by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        for module in (execution, hosted):
            monkeypatch.setattr(module, "monotonic", lambda: monotonic() + self.ahead)


def code(container_id: str, source: str) -> CreateContainerExecRequest:
    """Return the request for a program in a session."""
    given = ExecCode(language="python", source=source, session="default")
    return CreateContainerExecRequest(container_id=container_id, code=given)


async def test_output_that_cannot_be_added_does_not_keep_a_command(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command ends if another process cancels it, also while its output cannot be stored."""

    async def fail(*_: object) -> None:
        raise StorageError("full")

    monkeypatch.setattr(world.store, "append", fail)
    exec_ = await world.execs.create_container_exec(OURS, shell(await box(kept), "echo a; sleep 30", background=True))
    await has_output(world, exec_)
    other = exec_world(kept, process="other")
    await other.store.cancel("ours", exec_.container_id, exec_.id)
    async with asyncio.timeout(10):
        result = await world.execs.retrieve_container_exec(OURS, of(exec_), is_awaited=True)
    assert (result.outcome.type, result.stdout) == ("cancelled", "a\n")


async def test_a_result_without_an_answer_is_kept(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that was stored, though the answer was lost, is that of its events, of the trail and of the metrics."""
    finish = world.store.finish

    async def finish_and_fail(*arguments: Any, **named: Any) -> Any:
        await finish(*arguments, **named)
        raise StorageError("no answer")

    monkeypatch.setattr(world.store, "finish", finish_and_fail)
    exec_ = await world.execs.create_container_exec(OURS, shell(await box(kept), "echo a > made", background=True))
    ended = (await events(world, exec_))[-1].exec
    assert (ended.outcome.type, [file.path for file in ended.files]) == ("exit", ["/mnt/data/made"])
    assert world.audit[-1][1]["outcome"] == "exit"
    assert world.outcomes == ["exit"]
    assert [str(failure) for failure in world.failures] == ["no answer"]
    world.failures.clear()


@pytest.mark.parametrize(("failures", "outcome"), [(6, "exit"), (20, "lost")])
async def test_a_result_outlasts_a_failure_of_the_store(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch, failures: int, outcome: str
) -> None:
    """A result is stored though the store was away for several tries, as long as its lease lasts."""
    monkeypatch.setattr(execution, "LOOK_SECONDS", 0.01)
    finish, answers = world.store.finish, iter(range(failures))

    async def fail_first(*arguments: Any, **named: Any) -> Any:
        if next(answers, None) is not None:
            raise StorageError("away")
        return await finish(*arguments, **named)

    monkeypatch.setattr(world.store, "finish", fail_first)
    exec_ = await world.execs.create_container_exec(OURS, shell(await box(kept), "echo a > made", background=True))
    assert (await events(world, exec_))[-1].exec.outcome.type == outcome
    assert [str(failure) for failure in world.failures] == ["away"]
    world.failures.clear()


async def test_a_command_ends_before_its_lease_while_the_store_hangs(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that answers nothing for longer than a lease lasts does not keep a command alive; nothing is stored."""
    monkeypatch.setattr(execution, "LEASE_SECONDS", 3)
    answers = asyncio.Event()

    async def hang(*_: object) -> tuple[bool, bool]:
        await answers.wait()
        return True, False

    monkeypatch.setattr(world.store, "renew", hang)
    monkeypatch.setattr(world.store, "signals", hang)
    exec_ = await world.execs.create_container_exec(OURS, shell(await box(kept), "touch a; sleep 60", background=True))
    async with asyncio.timeout(10):
        result = await world.execs.retrieve_container_exec(OURS, of(exec_), is_awaited=True)
    assert (result.outcome.type, await paths(kept, exec_.container_id)) == ("lost", {})
    assert (await world.run(OURS, shell(exec_.container_id, "true"))).outcome.type == "exit"


async def test_a_command_goes_on_with_a_store_that_answers_late(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the start took most of the lease, the store is asked once more before the command is ended."""
    monkeypatch.setattr(execution, "LAST_TRY_SECONDS", 30.0)
    clock, start, renew, renewed = Clock(monkeypatch), world.store.start, world.store.renew, asyncio.Event()

    async def start_late(*arguments: Any, **named: Any) -> Any:
        answer = await start(*arguments, **named)
        clock.ahead += LEASE_SECONDS - 1  # more than is surely held
        return answer

    async def note(*arguments: Any) -> Any:
        answer = await renew(*arguments)
        renewed.set()
        return answer

    monkeypatch.setattr(world.store, "start", start_late)
    monkeypatch.setattr(world.store, "renew", note)
    exec_ = await world.execs.create_container_exec(OURS, shell(await box(kept), "sleep 60", background=True))
    async with asyncio.timeout(30):
        await renewed.wait()
        await world.execs.cancel_container_exec(OURS, cancellation(exec_))
        result = await world.execs.retrieve_container_exec(OURS, of(exec_), is_awaited=True)
    assert result.outcome.type == "cancelled"


@pytest.mark.parametrize("slow", ["start", "renew"])
async def test_a_lease_lasts_from_when_it_was_asked_for(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    """A command ends in time if the answer that it holds its lease came late, and then none came any more."""
    monkeypatch.setattr(execution, "LEASE_SECONDS", 5)
    monkeypatch.setattr(execution, "RENEW_SECONDS", 60.0)
    clock, ask, failures = Clock(monkeypatch), getattr(world.store, slow), 0

    async def answer_late(*arguments: Any, **named: Any) -> Any:
        answer = await ask(*arguments, **named)
        clock.ahead += 2.5  # most of the three seconds for which the lease is surely held
        return answer

    async def fail(*_: object) -> None:
        nonlocal failures
        failures += 1
        clock.ahead += 0.3
        raise StorageError("away")

    if slow == "start":
        monkeypatch.setattr(world.store, "renew", fail)
    monkeypatch.setattr(world.store, slow, answer_late)
    monkeypatch.setattr(world.store, "signals", fail)
    exec_ = await world.execs.create_container_exec(OURS, shell(await box(kept), "sleep 60", background=True))
    async with asyncio.timeout(30):
        result = await world.execs.retrieve_container_exec(OURS, of(exec_), is_awaited=True)
    assert (result.outcome.type, failures <= 2) == ("lost", True), failures


async def test_files_outlast_a_failure_of_the_blobs(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that is away for some tries, also amid a file, costs no command its files, neither before nor after."""
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    container_id, get, put = await box(kept), kept.blobs.get, kept.blobs.put
    await upload(kept, container_id, "a", b"abc")
    reads, writes = iter(range(3)), iter(range(3))

    async def cut_off(key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        chunks = await get(key, offset=offset, length=length)

        async def some() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk[:1]
                if next(reads, None) is not None:
                    raise StorageError("away")
                yield chunk[1:]

        return some()

    async def put_late(key: str, chunks: AsyncIterator[bytes]) -> None:
        if next(writes, None) is not None:
            await anext(chunks)
            raise StorageError("away")
        await put(key, chunks)

    monkeypatch.setattr(kept.blobs, "get", cut_off)
    monkeypatch.setattr(kept.blobs, "put", put_late)
    result = await world.run(OURS, shell(container_id, "cat a; cat a a > b"))
    assert (result.outcome.type, result.stdout, len(result.skipped_files)) == ("exit", "abc", 0)
    assert [(file.path, file.bytes) for file in result.files] == [("/mnt/data/b", 6)]


async def test_a_command_is_cancelled_while_its_files_cannot_be_read(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends before the bucket is there again, and a session keeps its variables, and what it knows of its files."""
    container_id, get = await box(kept), kept.blobs.get
    first = await world.run(OURS, code(container_id, "x = 1; open('made', 'w').write('a')"))
    await upload(kept, container_id, "a", b"abc")

    async def fail(*_: object, **__: object) -> AsyncIterator[bytes]:
        raise StorageError("away")

    for request in (shell(container_id, "true"), code(container_id, "x = 2")):
        monkeypatch.setattr(kept.blobs, "get", fail)
        request.background = True
        exec_ = await world.execs.create_container_exec(OURS, request)
        async with asyncio.timeout(4):
            await world.execs.cancel_container_exec(OURS, cancellation(exec_))
            result = await world.execs.retrieve_container_exec(OURS, of(exec_), is_awaited=True)
        assert result.outcome.type == "cancelled"
    monkeypatch.setattr(kept.blobs, "get", get)
    gone = DeleteContainerFileRequest(container_id=container_id, file_id=first.files[0].id)
    await kept.backend.delete_container_file(OURS, gone)
    last = await world.run(OURS, code(container_id, "import os; print(x, os.listdir())"))
    assert (last.stdout, last.session_restarted) == ("1 ['a']\n", False)
    assert [folder.name for folder in world.folder.glob("*/changes/*")] == []


async def test_a_command_without_its_lease_is_lost_while_its_files_are_read(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ended it is the lease, not somebody who cancelled it."""
    monkeypatch.setattr(execution, "LEASE_SECONDS", 3)
    container_id = await box(kept)
    await upload(kept, container_id, "a", b"abc")

    async def fail(*_: object) -> Any:
        raise StorageError("away")

    async def hang(*_: object, **__: object) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(world.store, "renew", fail)
    monkeypatch.setattr(world.store, "signals", fail)
    monkeypatch.setattr(kept.blobs, "get", hang)
    assert (await world.run(OURS, shell(container_id, "true"))).outcome.type == "lost"


async def test_a_stop_waits_for_a_command_that_begins(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was accepted before the service stops has the same time to end, also if it is still being started."""
    container_id, entered, may_start, start = await box(kept), asyncio.Event(), asyncio.Event(), world.store.start

    async def start_late(*arguments: Any, **named: Any) -> str | None:
        entered.set()
        await may_start.wait()
        return await start(*arguments, **named)

    monkeypatch.setattr(world.store, "start", start_late)
    starting = asyncio.create_task(world.execs.create_container_exec(OURS, shell(container_id, "touch a")))
    await entered.wait()
    stopping = asyncio.create_task(world.execs.drain(10))
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done
    may_start.set()
    await stopping
    result = await world.execs.retrieve_container_exec(OURS, of(await starting))
    assert (result.outcome.type, set(await paths(kept, container_id))) == ("exit", {"a"})
    assert list(world.folder.iterdir()) == []


async def test_the_end_of_a_lost_command_comes_after_what_the_caller_has(kept: Kept, world: ExecWorld) -> None:
    """A process that was killed may have sent output that it had not stored yet; the numbers go on all the same."""
    lost = Exec(id="exec_1", container_id=await box(kept), created_at=kept.clock())
    await world.store.start(OURS.tenant, lost, process="killed", attempt=None, key="")
    await world.store.append(ExecOwner(lost.id, "killed"), [ExecOutput(2, Stream.STDOUT, "a")])
    kept.clock.advance(LEASE_SECONDS)
    ends = {after: (await events(world, lost, after))[-1] for after in (0, 2, 7, MAX_SEQUENCE)}
    assert {end.exec.outcome.type for end in ends.values()} == {"lost"}
    assert [end.sequence for end in ends.values()] == [3, 3, 8, MAX_SEQUENCE]
