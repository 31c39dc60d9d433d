"""Requests with an idempotency key whose process died: resolved by the mark they left, or reported, never repeated."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from berth.adapters.sql.idempotency import SqlIdempotency
from berth.core.errors import (
    BerthError,
    IdempotencyConflictError,
    StorageError,
    UpstreamError,
)
from berth.core.idempotency.backend import IdempotentBackend
from berth.core.idempotency.fingerprints import hash_of
from berth.core.idempotency.leases import LEASE_SECONDS
from berth.core.ports.idempotency_store import Slot
from support.fakes.idempotent import BOX, KEYED, Died, Troubled, once, records_of, with_key
from support.fakes.subjects import refused
from support.servers.hosted import Kept, Left
from support.servers.service import eventually

_REFUSE_OUTCOMES = """
    CREATE TRIGGER refuse BEFORE UPDATE OF outcome ON idempotency BEGIN SELECT RAISE(ABORT, 'refused'); END
"""
_LATEST = "SELECT max(lease_until) FROM idempotency"


@pytest.fixture
def troubled(kept: Kept) -> Troubled:
    return Troubled(kept.backend)


async def _died(kept: Kept, troubled: Troubled, *, behind: bool, resumes: bool) -> None:
    """Let a process claim the key and die, before its work or behind it, and let its lease lapse."""
    troubled.error, troubled.error_behind = (None, Died()) if behind else (Died(), None)
    with pytest.raises(Died):
        await once(kept, troubled, prefix="dead", resumes=resumes).create_container(KEYED, BOX)
    troubled.error = troubled.error_behind = None
    kept.clock.advance(LEASE_SECONDS)


@pytest.mark.parametrize("error", [UpstreamError("away"), IdempotencyConflictError("runs there")])
async def test_an_attempt_that_may_have_been_made_stays_the_same(
    kept: Kept, troubled: Troubled, error: BerthError
) -> None:
    """Where a dead process may have made it there, no failure on the way makes another attempt of it."""
    await _died(kept, troubled, behind=False, resumes=True)
    backend = once(kept, troubled)
    for failure in (error, error, None):
        troubled.error = failure
        if failure is None:
            await backend.create_container(KEYED, BOX)
        else:
            assert await refused(backend.create_container(KEYED, BOX)) is failure
    assert len(troubled.attempts) == 4
    assert len(set(troubled.attempts)) == 1


@pytest.mark.parametrize("resumes", [True, False])
async def test_what_a_dead_process_made_is_the_answer(kept: Kept, troubled: Troubled, *, resumes: bool) -> None:
    """The mark on the container tells that it was made: the next request gets it, whoever keeps the containers."""
    await _died(kept, troubled, behind=True, resumes=resumes)
    assert kept.left() == Left(containers=1)
    found = await once(kept, troubled, resumes=resumes).create_container(KEYED, BOX)
    again = await once(kept, troubled, resumes=resumes).create_container(KEYED, BOX)
    assert found.id == again.id
    assert found.extra_fields.idempotent_replayed
    assert (troubled.begun, kept.left()) == (1, Left(containers=1))


async def test_what_a_dead_process_did_not_make_is_made(kept: Kept, troubled: Troubled) -> None:
    """Where Berth keeps the containers no mark means that there is none: the request is done now."""
    await _died(kept, troubled, behind=False, resumes=True)
    assert kept.left() == Left()
    made = await once(kept, troubled).create_container(KEYED, BOX)
    assert not made.extra_fields.idempotent_replayed
    assert (await once(kept, troubled).create_container(KEYED, BOX)).id == made.id
    assert kept.left() == Left(containers=1)


async def test_what_nobody_can_tell_is_said(kept: Kept, troubled: Troubled) -> None:
    """Where a provider may have made one that nobody knows of, nothing is made, and clients do not come again."""
    await _died(kept, troubled, behind=False, resumes=False)
    for _ in range(3):
        error = await refused(once(kept, troubled, resumes=False).create_container(KEYED, BOX))
        assert (type(error), error.code) == (IdempotencyConflictError, "idempotency_outcome_unknown")
        assert (error.is_final, error.retry_after_seconds) == (True, None)
    assert (troubled.begun, kept.left()) == (1, Left())


async def test_an_error_of_unknown_fate_is_no_failure(kept: Kept, troubled: Troubled) -> None:
    """A provider that may have done it before the connection broke is not asked a second time."""
    lost = UpstreamError("lost")
    lost.is_final = True
    troubled.error = lost
    backend = once(kept, troubled, resumes=False)
    assert await refused(backend.create_container(KEYED, BOX)) is lost
    troubled.error = None
    assert (await refused(backend.create_container(KEYED, BOX))).code == "idempotency_outcome_unknown"
    assert troubled.begun == 1


@pytest.fixture
async def stuck(kept: Kept, troubled: Troubled) -> AsyncIterator[None]:
    """Let a process claim the key and do nothing more."""
    troubled.go.clear()
    task = asyncio.create_task(once(kept, troubled, prefix="stuck").create_container(KEYED, BOX))
    await eventually(lambda: bool(troubled.begun))
    yield
    task.cancel()
    troubled.go.set()


@pytest.mark.usefixtures("stuck")
async def test_a_refusal_says_when_the_lease_ends(kept: Kept) -> None:
    """The time in the refusal is what remains of the lease; a request after that time is done."""
    kept.clock.advance(LEASE_SECONDS - 4)
    error = await refused(once(kept).create_container(KEYED, BOX))
    assert (error.code, error.retry_after_seconds) == ("idempotency_in_progress", 4)
    kept.clock.advance(4)
    await once(kept).create_container(KEYED, BOX)
    assert kept.left() == Left(containers=1)


@pytest.mark.usefixtures("stuck")
async def test_a_lease_that_is_about_to_end_is_awaited(kept: Kept) -> None:
    """A request in the last second of a lease is not refused: replicas' clocks differ by less than that."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        kept.clock.advance(int(seconds))

    kept.clock.advance(LEASE_SECONDS - 1)
    leases = records_of(kept, sleep=sleep)
    backend = IdempotentBackend(kept.backend, leases, resumes=True)
    await backend.create_container(KEYED, BOX)
    assert slept[0] == 1
    assert kept.left() == Left(containers=1)


async def test_a_process_that_only_slept_cannot_make_a_second_one(kept: Kept, troubled: Troubled) -> None:
    """Should the first process live after all when its lease has lapsed, its work fails on the mark."""
    troubled.go.clear()
    sleeper = asyncio.create_task(once(kept, troubled, prefix="slow").create_container(KEYED, BOX))
    await eventually(lambda: bool(troubled.begun))
    kept.clock.advance(LEASE_SECONDS)
    made = await once(kept).create_container(KEYED, BOX)
    troubled.go.set()
    with pytest.raises(StorageError):
        await sleeper
    assert (await once(kept).create_container(KEYED, BOX)).id == made.id
    assert kept.left() == Left(containers=1)


async def test_a_key_that_is_not_worked_on_is_not_kept(kept: Kept, troubled: Troubled) -> None:
    """If the end of a create cannot be stored, its lease expires, also while the process works on other keys."""
    ticks = asyncio.Semaphore(0)

    async def sleep(_: float) -> None:
        await ticks.acquire()

    backend = IdempotentBackend(troubled, records_of(kept, "busy", sleep), resumes=True)
    await kept.database.write(lambda transaction: transaction.run(_REFUSE_OUTCOMES))
    with pytest.raises(StorageError):
        await backend.create_container(KEYED, BOX)
    await kept.database.write(lambda transaction: transaction.run("DROP TRIGGER refuse"))
    troubled.go.clear()
    other = asyncio.create_task(backend.create_container(with_key("other"), BOX))
    await eventually(lambda: troubled.begun == 2)
    kept.clock.advance(LEASE_SECONDS)
    ticks.release()
    await eventually(lambda: kept.row(_LATEST) == (kept.clock() + LEASE_SECONDS,))
    found = await once(kept).create_container(KEYED, BOX)
    assert found.extra_fields.idempotent_replayed
    troubled.go.set()
    assert (await other).id != found.id
    assert kept.left() == Left(containers=2)


async def test_one_of_two_takes_over(kept: Kept) -> None:
    """Two processes that find the same lapsed claim do not both get it."""
    store, slot = SqlIdempotency(kept.database), Slot("ours", hash_of("key"))
    record = records_of(kept, "dead").new_record("container_create", b"f")
    assert await store.acquire(slot, record, now=kept.clock()) is None
    until = kept.clock() + 2 * LEASE_SECONDS
    took = [await store.take_over(slot, record, owner=owner, lease_until=until) for owner in ("p", "q")]
    assert took == [True, False]
