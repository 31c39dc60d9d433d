"""CachedBackend: who is answered from the cache, with what, and for how long."""

from dataclasses import replace

import pytest

from berth.adapters.memory.cache import MemoryCache
from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import RetrieveContainerRequest
from berth.v1.extra_fields_pb2 import CacheDebug
from support.fakes.caching import ASKING, OPENAI, World, asking, cached
from support.fakes.counting import UPSTREAM_MILLISECONDS, running_until
from support.fakes.subjects import GROQ

NOBODY = Caller("ours", "first")
FIRST_ID = "cache_" + "0" * 31 + "1"
MISS = CacheDebug(cache_hit=False, cache_id=FIRST_ID, requested_provider=OPENAI)
HIT = CacheDebug(cache_hit=True, cache_id=FIRST_ID, hit_type="direct", requested_provider=OPENAI, provider_used=OPENAI)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_second_retrieval_asks_nobody(world: World) -> None:
    """A container comes out of the cache as it went in, and says how it came to be."""
    first, second = await world.container(), await world.container()
    assert world.reads == 1
    assert first.extra_fields.cache_debug == MISS
    assert second.extra_fields.cache_debug == HIT
    assert first.extra_fields.upstream_latency == UPSTREAM_MILLISECONDS
    assert not second.extra_fields.HasField("upstream_latency")
    for extra in (first.extra_fields, second.extra_fields):
        extra.ClearField("cache_debug")
        extra.ClearField("upstream_latency")
    assert first == second


async def test_a_file_is_cached_likewise(world: World) -> None:
    """A file comes out of the cache, beside its container."""
    await world.container()
    first, second = await world.file(), await world.file()
    assert world.reads == 2
    assert (first.path, first.extra_fields.cache_debug.cache_hit) == ("0", False)
    assert (second.path, second.extra_fields.cache_debug.cache_hit) == ("0", True)
    assert first.extra_fields.cache_debug.cache_id == second.extra_fields.cache_debug.cache_id != FIRST_ID


async def test_nobody_is_given_what_they_did_not_ask_for(world: World) -> None:
    """Without a cache key the backend is asked each time, and the cache has nothing to tell."""
    await world.container()
    for _ in range(2):
        assert not (await world.container(NOBODY)).extra_fields.HasField("cache_debug")
        assert not (await world.file(NOBODY)).extra_fields.HasField("cache_debug")
    assert world.reads == 5


async def test_a_provider_may_be_cached_for_all(world: World) -> None:
    """With `always` nobody has to ask, and those who do have entries of their own."""
    world.backend = cached(world.behind.as_backend(), world.clock, always=True)
    for caller in (NOBODY, ASKING):
        assert not (await world.container(caller)).extra_fields.cache_debug.cache_hit
        assert (await world.container(caller)).extra_fields.cache_debug.cache_hit
    assert world.reads == 2


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKING, tenant="theirs"),
        replace(ASKING, providers=frozenset({OPENAI})),
        asking(cache_key="other"),
        asking(organization="org"),
        asking(project="project"),
        asking(raw_request=True),
        asking(raw_response=True),
    ],
)
async def test_what_the_answer_depends_on_is_in_the_key(world: World, other: Caller) -> None:
    """Another tenant, key, or wish for the answer is another entry."""
    await world.container()
    assert not (await world.container(other)).extra_fields.cache_debug.cache_hit
    assert (await world.container(other)).extra_fields.cache_debug.cache_hit
    assert world.reads == 2


@pytest.mark.parametrize("other", [replace(ASKING, name="second"), asking(cache_ttl_seconds=1)])
async def test_what_the_answer_does_not_depend_on_is_not_in_the_key(world: World, other: Caller) -> None:
    """Callers of one tenant share answers under one cache key, whatever time they would give them."""
    await world.container()
    assert (await world.container(other)).extra_fields.cache_debug.cache_hit


async def test_arguments_are_in_the_key(world: World) -> None:
    """Each container, each file and each provider that is named is an entry of its own."""
    await world.container()
    await world.container(container_id="cntr_2")
    named = await world.container(provider=GROQ)
    assert named.extra_fields.cache_debug.requested_provider == GROQ
    for file_id in ("cfile_1", "cfile_2"):
        await world.file(file_id=file_id)
        await world.file(file_id=file_id, container_id="cntr_2")
    assert world.reads == 7


@pytest.mark.parametrize(("caller", "seconds"), [(ASKING, 300), (asking(cache_ttl_seconds=5), 5)])
async def test_an_answer_has_its_time(world: World, caller: Caller, seconds: int) -> None:
    """It is in the cache until the second before its time is up: the caller's, or 300 seconds."""
    await world.container(caller)
    world.clock.advance(seconds - 1)
    assert (await world.container(ASKING)).extra_fields.cache_debug.cache_hit
    world.clock.advance(1)
    assert not (await world.container(ASKING)).extra_fields.cache_debug.cache_hit


async def test_no_answer_outlives_what_it_tells(world: World) -> None:
    """A container that will expire in 60 seconds is cached for no longer."""
    world.behind.shown = running_until(world.clock.now, minutes=1)
    await world.container()
    world.clock.advance(59)
    assert (await world.container()).extra_fields.cache_debug.cache_hit
    world.clock.advance(1)
    assert not (await world.container()).extra_fields.cache_debug.HasField("cache_id")
    world.clock.advance(1)
    world.behind.shown.status = ContainerStatus.CONTAINER_STATUS_EXPIRED
    assert (await world.container()).status == ContainerStatus.CONTAINER_STATUS_EXPIRED


@pytest.mark.parametrize("status", [ContainerStatus.CONTAINER_STATUS_EXPIRED, ContainerStatus.CONTAINER_STATUS_DELETED])
async def test_what_is_over_stays_so(world: World, status: ContainerStatus) -> None:
    """Nothing revives a container: that it is expired can be cached for the whole time."""
    world.behind.shown = running_until(world.clock.now - 1000, minutes=1)
    world.behind.shown.status = status
    await world.container()
    world.clock.advance(299)
    assert (await world.container()).extra_fields.cache_debug.cache_hit


@pytest.mark.parametrize("shown", [Container(last_active_at=1), Container(expires_after={"anchor": "last_active_at"})])
async def test_an_expiry_that_is_not_told_limits_nothing(world: World, shown: Container) -> None:
    """A provider may leave out when a container was active or how long it lives."""
    world.behind.shown = shown
    await world.container()
    world.clock.advance(299)
    assert (await world.container()).extra_fields.cache_debug.cache_hit


async def test_errors_are_not_cached(world: World) -> None:
    """What was not found is looked for again."""
    world.behind.error = NotFoundError("No.")
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await world.container()
    world.behind.error = None
    assert not (await world.container()).extra_fields.cache_debug.cache_hit
    assert world.reads == 3


async def test_who_asks_for_no_storing_may_still_be_answered(world: World) -> None:
    """Nothing of theirs is stored, so no entry is named; what others stored is theirs to read."""
    careful = asking(cache_store=False)
    for _ in range(2):
        answer = await world.container(careful)
        assert answer.extra_fields.cache_debug == CacheDebug(cache_hit=False, requested_provider=OPENAI)
    await world.container()
    assert (await world.container(careful)).extra_fields.cache_debug == HIT
    assert world.reads == 3


async def test_an_answer_is_everybodys_own(world: World) -> None:
    """Whatever is done to an answer, the next one is as it was."""
    for _ in range(3):
        answer = await world.container()
        assert (answer.name, answer.extra_fields.latency) == ("0", 0)
        answer.name, answer.extra_fields.latency = "changed", 5


async def test_an_answer_that_has_no_room_is_not_promised(world: World) -> None:
    """An answer larger than the cache is given, and no entry is named."""
    small = MemoryCache(10, timer=world.clock)
    world.backend = cached(world.behind.as_backend(), world.clock, cache=small)
    for _ in range(2):
        request = RetrieveContainerRequest(container_id="cntr_1")
        answer = await world.backend.retrieve_container(ASKING, request)
        assert answer.extra_fields.cache_debug == CacheDebug(cache_hit=False, requested_provider=OPENAI)
    assert world.reads == 2
