"""Requests with an idempotency key: done once, told again, and never in silence twice."""

import asyncio
from dataclasses import replace

import pytest

from berth.adapters.sql.sqlite.transaction import finish
from berth.core.caller import Caller
from berth.core.errors import (
    BerthError,
    ContainerExpiredError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    StorageError,
    UnsupportedOperationError,
    UpstreamError,
    UpstreamTimeoutError,
)
from berth.core.idempotency.leases import LEASE_SECONDS
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import CreateContainerRequest, DeleteContainerRequest
from support.fakes.idempotent import BOX, KEEP_SECONDS, KEYED, Troubled, once, records_of, upload, with_key
from support.fakes.subjects import OLLAMA, refused
from support.servers.hosted import Kept, Left, sweeper
from support.servers.service import eventually


@pytest.fixture
def troubled(kept: Kept) -> Troubled:
    return Troubled(kept.backend)


async def container(kept: Kept) -> str:
    return (await kept.backend.create_container(Caller("ours", "first"), BOX)).id


async def test_the_same_request_is_done_once(kept: Kept, troubled: Troubled) -> None:
    """The second time the first answer comes again, and says so; nothing is made."""
    backend = once(kept, troubled)
    first = await backend.create_container(KEYED, BOX)
    again = await backend.create_container(KEYED, BOX)
    assert not first.extra_fields.HasField("idempotent_replayed")
    assert again.extra_fields.idempotent_replayed
    again.extra_fields.ClearField("idempotent_replayed")
    assert again == first
    assert (troubled.begun, kept.left()) == (1, Left(containers=1))


async def test_without_a_key_nothing_is_kept(kept: Kept) -> None:
    """Requests that carry none are done as often as they come."""
    backend = once(kept)
    for _ in range(2):
        await backend.create_container(Caller("ours", "first"), BOX)
    assert kept.left() == Left(containers=2)
    assert kept.row("SELECT count(*) FROM idempotency") == (0,)


async def test_a_key_is_for_one_request(kept: Kept) -> None:
    """With another request, on another container, or in another account at the provider it is refused, by name."""
    backend, home = once(kept), await container(kept)
    await backend.create_container(KEYED, BOX)
    other_account = replace(KEYED, options=replace(KEYED.options, project="other"))
    attempts = [
        backend.create_container(KEYED, CreateContainerRequest(name="other", provider=OLLAMA)),
        backend.create_container(other_account, BOX),
        backend.create_container_file(KEYED, upload(home, b"x")),
    ]
    for attempt in attempts:
        error = await refused(attempt)
        assert (type(error), error.code) == (InvalidRequestError, "idempotency_key_reused")
        assert error.param == "Idempotency-Key"
    assert kept.left() == Left(containers=2)


async def test_tenants_do_not_share_keys(kept: Kept) -> None:
    """The same key of two tenants is two keys."""
    backend = once(kept)
    ids = {(await backend.create_container(with_key("key", tenant), BOX)).id for tenant in ("ours", "theirs")}
    assert len(ids) == 2


async def test_a_request_that_runs_is_a_conflict(kept: Kept, troubled: Troubled) -> None:
    """Here and in another process: it may come again when the lease would end, and is told the answer then."""
    troubled.go.clear()
    backend, elsewhere = once(kept, troubled), once(kept, prefix="q")
    first = asyncio.create_task(backend.create_container(KEYED, BOX))
    await eventually(lambda: bool(troubled.begun))
    for process in (backend, elsewhere):
        error = await refused(process.create_container(KEYED, BOX))
        assert (type(error), error.code) == (IdempotencyConflictError, "idempotency_in_progress")
        assert error.retry_after_seconds == LEASE_SECONDS
    troubled.go.set()
    made = await first
    assert (await elsewhere.create_container(KEYED, BOX)).id == made.id
    assert kept.left() == Left(containers=1)


async def test_a_hundred_at_once_make_one(kept: Kept) -> None:
    """Of many requests at the same moment one is done; the others are conflicts or get its answer."""
    processes = [once(kept, prefix=prefix) for prefix in "pqrs"]
    outcomes = await asyncio.gather(
        *(processes[number % 4].create_container(KEYED, BOX) for number in range(100)), return_exceptions=True
    )
    assert len({outcome.id for outcome in outcomes if isinstance(outcome, Container)}) == 1
    assert {type(outcome) for outcome in outcomes} <= {Container, IdempotencyConflictError}
    assert kept.left() == Left(containers=1)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("no", param="name", code="x"),
        NotFoundError("no"),
        UnsupportedOperationError("container_create", "cohere"),
        ContainerExpiredError(provider="ollama"),
        InvalidRequestError("no", provider="openai", kind="their_type"),
    ],
)
async def test_a_failure_for_good_is_told_again(kept: Kept, troubled: Troubled, error: BerthError) -> None:
    """What would fail again is not tried again: the same error comes, marked as told before."""
    backend = once(kept, troubled)
    troubled.error = error
    assert await refused(backend.create_container(KEYED, BOX)) is error
    troubled.error = None
    told = await refused(backend.create_container(KEYED, BOX))
    assert told.is_replayed
    assert (type(told), vars(told)) == (type(error), vars(error) | {"is_replayed": True})
    assert troubled.begun == 1


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("away"),
        UpstreamTimeoutError("late"),
        StorageError("full"),
        RateLimitError("slow", code="rate_limited", retry_after_seconds=1),
    ],
)
@pytest.mark.parametrize("resumes", [True, False])
async def test_a_failure_in_passing_may_be_tried_again(
    kept: Kept, troubled: Troubled, error: BerthError, *, resumes: bool
) -> None:
    """The next request is done, with the provider's answer of then; as the same attempt where that is safe."""
    backend = once(kept, troubled, resumes=resumes)
    troubled.error = error
    assert await refused(backend.create_container(KEYED, BOX)) is error
    troubled.error = None
    assert not (await backend.create_container(KEYED, BOX)).extra_fields.idempotent_replayed
    assert kept.left() == Left(containers=1)
    assert (troubled.attempts[0] == troubled.attempts[1]) is resumes


async def test_a_lease_is_renewed_while_work_goes_on(kept: Kept, troubled: Troubled) -> None:
    """A request that takes longer than a lease is not taken for a dead one."""
    ticks: asyncio.Queue[None] = asyncio.Queue()

    async def sleep(_: float) -> None:
        await ticks.get()

    leases = records_of(kept)
    leases.sleep = sleep
    troubled.go.clear()
    backend = once(kept, troubled)
    backend._protocol._leases = leases
    work = asyncio.create_task(backend.create_container(KEYED, BOX))
    await eventually(lambda: bool(troubled.begun))
    kept.clock.advance(LEASE_SECONDS - 1)
    ticks.put_nowait(None)
    until = kept.clock() + LEASE_SECONDS
    await eventually(lambda: kept.row("SELECT lease_until FROM idempotency") == (until,))
    troubled.go.set()
    await work


async def test_a_create_is_seen_through(kept: Kept, troubled: Troubled) -> None:
    """A caller that goes away has its container made, and is told of it when it comes again."""
    troubled.go.clear()
    backend = once(kept, troubled)
    leaving = asyncio.create_task(backend.create_container(KEYED, BOX))
    await eventually(lambda: bool(troubled.begun))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    troubled.go.set()
    await eventually(lambda: kept.row("SELECT 1 FROM idempotency WHERE outcome IS NOT NULL") == (1,))
    assert (await backend.create_container(KEYED, BOX)).extra_fields.idempotent_replayed
    assert kept.left() == Left(containers=1)


async def test_outcomes_are_kept_for_their_time(kept: Kept) -> None:
    """When it is over the key is a new one, and a sweep removes what is over."""
    backend = once(kept)
    first = await backend.create_container(KEYED, BOX)
    for number in range(5):
        await backend.create_container(with_key(f"other {number}"), BOX)
    kept.clock.advance(KEEP_SECONDS)
    assert (await backend.create_container(KEYED, BOX)).id != first.id
    await sweeper(kept.database, kept.blobs, clock=kept.clock).sweep()
    assert kept.row("SELECT count(*) FROM idempotency") == (1,)


async def test_nothing_of_the_request_is_kept(kept: Kept) -> None:
    """Neither the key nor a secret of the request stands in the database's rows."""
    request = CreateContainerRequest(name="box", provider=OLLAMA)
    request.network_policy.type = 2  # type: ignore[assignment] # allowlist
    request.network_policy.allowed_domains.append("a.example")
    request.network_policy.domain_secrets.add(domain="a.example", name="T", value="hush-domain")
    await once(kept).create_container(with_key("hush-key"), request)
    rows = finish(kept.database.all("SELECT * FROM idempotency"))
    assert len(rows) == 1
    assert "hush" not in repr(rows)


async def test_a_container_that_was_deleted_since_is_told_all_the_same(kept: Kept) -> None:
    """The outcome is what the first request was answered, whatever became of the container."""
    backend = once(kept)
    made = await backend.create_container(KEYED, BOX)
    await backend.delete_container(KEYED, DeleteContainerRequest(container_id=made.id))
    assert (await backend.create_container(KEYED, BOX)).id == made.id
    assert kept.left() == Left()
