"""CachedBackend: what writes do to answers, and what callers at the same time share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from berth.core.caller import Caller
from berth.core.errors import (
    BerthError,
    ContainerExpiredError,
    NotFoundError,
    RateLimitError,
    StorageError,
    UpstreamError,
    UpstreamTimeoutError,
)
from berth.v1.container_file_service_pb2 import DeleteContainerFileRequest
from berth.v1.container_service_pb2 import DeleteContainerRequest
from support.fakes.caching import ASKING, World, asking
from support.fakes.uploads import GivenUpload

T = TypeVar("T")
Write = Callable[[World, Caller, str], Awaitable[object]]


async def upload(world: World, caller: Caller, container_id: str) -> None:
    await world.backend.create_container_file(caller, GivenUpload(container_id))


WRITES: dict[str, Write] = {
    "create_container_file": upload,
    "delete_container_file": lambda world, caller, container_id: world.backend.delete_container_file(
        caller, DeleteContainerFileRequest(container_id=container_id, file_id="cfile_1")
    ),
    "delete_container": lambda world, caller, container_id: world.backend.delete_container(
        caller, DeleteContainerRequest(container_id=container_id)
    ),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


@pytest.fixture
def world() -> World:
    return World()


async def started(world: World, work: Awaitable[T], *, gates: int) -> "asyncio.Task[T]":
    """Start `work`, and wait until so many calls stand at their gates."""
    task = asyncio.ensure_future(work)
    await until(lambda: len(world.behind.gates) == gates)
    return task


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until `condition` holds."""
    for _ in range(100):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")


def open_gates(world: World) -> None:
    """Let all go on, from now on without stopping."""
    world.behind.gated = False
    for gate in world.behind.gates:
        gate.set_result(None)


async def is_hit(world: World) -> bool:
    return (await world.container()).extra_fields.cache_debug.cache_hit


@every_write
async def test_a_write_makes_answers_void(world: World, write: Write) -> None:
    """Behind a write to a container, it and its files are asked for anew."""
    await world.container()
    await world.file()
    await write(world, ASKING, "cntr_1")
    for retrieve in (world.container, world.file):
        if world.behind.count("ours", "cntr_1") is None:
            with pytest.raises(NotFoundError):
                await retrieve()
        else:
            assert not (await retrieve()).extra_fields.cache_debug.cache_hit
    assert world.reads == 4


@every_write
@pytest.mark.parametrize(
    "error", [UpstreamError("No."), ContainerExpiredError(), RateLimitError("No.", code="c", retry_after_seconds=1)]
)
async def test_a_write_that_fails_makes_answers_void(world: World, write: Write, error: BerthError) -> None:
    """Nobody knows what it did before it failed."""
    await world.container()
    world.behind.error = error
    with pytest.raises(type(error)):
        await write(world, ASKING, "cntr_1")
    world.behind.error = None
    assert not await is_hit(world)


async def test_a_write_leaves_other_answers(world: World) -> None:
    """Other containers, and those of other tenants, stay in the cache."""
    await world.container()
    await upload(world, ASKING, "cntr_2")
    await upload(world, Caller("theirs", "second"), "cntr_1")
    assert await is_hit(world)


async def test_answers_are_good_again_behind_a_write(world: World) -> None:
    """A write that succeeded, or was refused, is over when it has ended."""
    await upload(world, ASKING, "cntr_1")
    assert [await is_hit(world), await is_hit(world)] == [False, True]
    world.behind.error = ContainerExpiredError()
    with pytest.raises(ContainerExpiredError):
        await upload(world, ASKING, "cntr_1")
    world.behind.error = None
    assert [await is_hit(world), await is_hit(world)] == [False, True]


@pytest.mark.parametrize("error", [UpstreamError("No."), StorageError("No."), UpstreamTimeoutError("No.")])
async def test_a_write_of_unknown_outcome_may_happen_yet(world: World, error: BerthError) -> None:
    """For 60 seconds behind it nothing of the container is cached."""
    world.behind.error = error
    with pytest.raises(type(error)):
        await upload(world, ASKING, "cntr_1")
    world.behind.error = None
    assert [await is_hit(world), await is_hit(world)] == [False, False]
    world.clock.advance(59)
    assert [await is_hit(world), await is_hit(world)] == [False, False]
    world.clock.advance(1)
    assert [await is_hit(world), await is_hit(world)] == [False, True]


async def test_a_write_that_goes_on_without_its_caller_is_not_missed(world: World) -> None:
    """What is read between the cancellation of a write and its effect is not cached."""
    world.behind.gated = True
    write = await started(world, upload(world, ASKING, "cntr_1"), gates=1)
    write.cancel()
    with pytest.raises(asyncio.CancelledError):
        await write
    world.behind.gated = False
    assert (await world.container()).name == "0"
    open_gates(world)
    await until(lambda: world.behind.count("ours", "cntr_1") == 1)
    assert (await world.container()).name == "1"


async def test_a_read_that_a_write_overtakes_is_not_stored(world: World) -> None:
    """An answer from before a write is given to who asked before it, and to nobody else."""
    world.behind.gated = True
    read = await started(world, world.container(), gates=1)
    world.behind.gates[0].set_result(None)
    await until(lambda: len(world.behind.gates) == 1 and not world.behind.gates[0].done())
    world.behind.gated = False
    await upload(world, ASKING, "cntr_1")
    assert (await world.container()).name == "1"
    open_gates(world)
    late = await read
    assert (late.name, late.extra_fields.cache_debug.HasField("cache_id")) == ("0", False)
    assert ((await world.container()).name, world.reads) == ("1", 2)


async def test_who_reads_while_a_write_runs_reads_for_themselves(world: World) -> None:
    """The write may take effect at any moment until it has ended."""
    await world.container()
    world.behind.gated = True
    write = await started(world, upload(world, ASKING, "cntr_1"), gates=1)
    world.behind.gated = False
    assert [(await world.container()).name, (await world.file()).path] == ["0", "0"]
    world.behind.gated = True
    world.behind.gates[0].set_result(None)
    await until(lambda: world.behind.count("ours", "cntr_1") == 1)
    world.behind.gated = False
    assert not await is_hit(world)
    assert not await is_hit(world)
    open_gates(world)
    await write
    assert [await is_hit(world), await is_hit(world)] == [False, True]


async def test_callers_at_the_same_time_make_one_call(world: World) -> None:
    """All get the answer of that one call, each an own copy, and one entry is written."""
    world.behind.gated = True
    reads = [await started(world, world.container(), gates=1) for _ in range(20)]
    open_gates(world)
    answers = await asyncio.gather(*reads)
    assert world.reads == 1
    assert len({id(answer) for answer in answers}) == 20
    assert {answer.extra_fields.cache_debug.cache_id for answer in answers} == {"cache_" + "0" * 31 + "1"}
    assert not any(answer.extra_fields.cache_debug.cache_hit for answer in answers)
    assert await is_hit(world)


async def test_callers_with_other_keys_make_calls_of_their_own(world: World) -> None:
    """Only one and the same question is asked once."""
    world.behind.gated = True
    reads = [
        await started(world, world.container(caller), gates=number)
        for number, caller in enumerate([ASKING, asking(cache_key="other"), asking(cache_store=False)], start=1)
    ]
    open_gates(world)
    await asyncio.gather(*reads)
    assert world.reads == 3


@pytest.mark.parametrize("leaving", [0, 1])
async def test_who_leaves_leaves_the_others_waiting(world: World, leaving: int) -> None:
    """Whether the first or a later caller is cancelled, the others get the answer."""
    world.behind.gated = True
    reads = [await started(world, world.container(), gates=1) for _ in range(3)]
    reads[leaving].cancel()
    with pytest.raises(asyncio.CancelledError):
        await reads[leaving]
    open_gates(world)
    left = [read for read in reads if read is not reads[leaving]]
    assert [answer.name for answer in await asyncio.gather(*left)] == ["0", "0"]
    assert world.reads == 1


async def test_when_all_have_left_the_call_ends(world: World) -> None:
    """Nobody waits for its answer; who comes next starts anew."""
    world.behind.gated = True
    reads = [await started(world, world.container(), gates=1) for _ in range(3)]
    for read in reads:
        read.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*reads, return_exceptions=True))
    await until(lambda: not world.behind.gates)
    world.behind.gated = False
    assert not await is_hit(world)
    assert world.reads == 2


async def test_an_error_is_everybodys(world: World) -> None:
    """All who waited for the call are told, and the next one asks again."""
    world.behind.gated = True
    reads = [await started(world, world.container(), gates=1) for _ in range(3)]
    world.behind.error = UpstreamError("It failed.")
    open_gates(world)
    assert await asyncio.gather(*reads, return_exceptions=True) == [world.behind.error] * 3
    world.behind.error = None
    assert not await is_hit(world)
    assert world.reads == 2
