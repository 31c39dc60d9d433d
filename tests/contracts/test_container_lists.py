"""The contract of the lists of ContainerStore, run against every store and the fake."""

from dataclasses import replace

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.ports.container_store import ContainerRecord, ContainerStore
from berth.core.ports.pages import Pagination
from berth.v1.container_pb2 import ContainerStatus
from berth.v1.provider_pb2 import Provider
from support.fakes.records import (
    COHERE,
    NOW,
    OLLAMA,
    OPENAI,
    ROOMY,
    STRANGE_IDS,
    add_files,
    container,
    file,
    listed,
    listed_files,
)
from support.fakes.stores import FixedClock

HUGE = 5_000_000_000
"""A size that an integer of 32 bits cannot have."""


async def test_lists_are_in_order_of_creation(store: ContainerStore) -> None:
    """Items of one second are in the order in which they were added, or the reverse."""
    for container_id in ("c", "a", "box"):
        await store.add_container(container(container_id))
    await add_files(store, "f3", "f1", "f2")
    assert await listed(store, Pagination(limit=9)) == (["box", "a", "c"], False)
    assert await listed(store, Pagination(limit=9, descending=False)) == (["c", "a", "box"], False)
    assert await listed_files(store, Pagination(limit=9)) == (["f2", "f1", "f3"], False)
    assert await listed_files(store, Pagination(limit=9, descending=False)) == (["f3", "f1", "f2"], False)


@pytest.mark.parametrize("descending", [True, False])
async def test_pages_join_into_the_whole_list(store: ContainerStore, descending: bool) -> None:  # noqa: FBT001 - a parameter
    """Page after page gives every item once, and only the last page says that nothing follows."""
    ids = [f"c{i}" for i in range(6)]
    for container_id in ids:
        await store.add_container(container(container_id))
    seen: list[str] = []
    has_more = True
    while has_more:
        after = seen[-1] if seen else None
        page, has_more = await listed(store, Pagination(limit=2, after=after, descending=descending))
        seen += page
    assert seen == (ids[::-1] if descending else ids)


@pytest.mark.parametrize("descending", [True, False])
async def test_a_deleted_cursor_still_marks_its_place(store: ContainerStore, descending: bool) -> None:  # noqa: FBT001 - a parameter
    """A list goes on behind an item that was deleted meanwhile, and shows no deleted one."""
    for container_id in ("c1", "c2", "box"):
        await store.add_container(container(container_id))
    await add_files(store, "f1", "f2", "f3")
    await store.delete_container("ours", "c2")
    await store.delete_file("ours", "box", "f2")
    first, last = (("box", "f3"), ("c1", "f1")) if descending else (("c1", "f1"), ("box", "f3"))
    assert await listed(store, Pagination(limit=9, descending=descending)) == ([first[0], last[0]], False)
    assert await listed(store, Pagination(limit=9, after="c2", descending=descending)) == ([last[0]], False)
    assert await listed_files(store, Pagination(limit=9, descending=descending)) == ([first[1], last[1]], False)
    assert await listed_files(store, Pagination(limit=9, after="f2", descending=descending)) == ([last[1]], False)


@pytest.mark.parametrize("strange", [*STRANGE_IDS, "of-theirs", "f-of-other"])
async def test_a_cursor_that_names_nothing_is_refused(store: ContainerStore, strange: str) -> None:
    """An `after` that is unknown, another tenant's or another container's is a bad request, without an oracle."""
    for record in (container("box"), container("other"), container("of-theirs", tenant="theirs")):
        await store.add_container(record)
    await add_files(store, "f-of-other", container_id="other")
    for resource, attempt in (
        ("container", listed(store, Pagination(limit=9, after=strange))),
        ("file", listed_files(store, Pagination(limit=9, after=strange))),
    ):
        with pytest.raises(InvalidRequestError, match=f"^Invalid 'after': no {resource} with the id '") as caught:
            await attempt
        assert (caught.value.param, caught.value.code) == ("after", "invalid_value")
        assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("providers", "name", "expected"),
    [
        (None, None, ["c5", "c4", "c3", "c2", "c1"]),
        ({OPENAI}, None, ["c3", "c1"]),
        ({OPENAI, COHERE}, None, ["c5", "c3", "c2", "c1"]),
        ({OPENAI, COHERE, OLLAMA}, "x", ["c5", "c4", "c1"]),
        (None, "x", ["c5", "c4", "c1"]),
        (None, "X", []),
        (None, "", []),
        ({COHERE}, "x", ["c5"]),
        ({OLLAMA}, "y", []),
        (set(), None, []),
    ],
)
async def test_filters_narrow_a_list(
    store: ContainerStore, providers: set[Provider] | None, name: str | None, expected: list[str]
) -> None:
    """Only containers of one of the providers and of exactly the name are listed, still in order, on every page."""
    for container_id, provider, its_name in (
        ("c1", OPENAI, "x"),
        ("c2", COHERE, "y"),
        ("c3", OPENAI, "y"),
        ("c4", OLLAMA, "x"),
        ("c5", COHERE, "x"),
    ):
        await store.add_container(container(container_id, provider=provider, name=its_name))
    wanted = None if providers is None else frozenset(providers)
    assert await listed(store, Pagination(limit=9), providers=wanted, name=name) == (expected, False)
    ascending = await listed(store, Pagination(limit=1, descending=False), providers=wanted, name=name)
    assert ascending == (expected[:-2:-1], len(expected) > 1)
    behind = await listed(store, Pagination(limit=1, after="c5"), providers=wanted, name=name)
    rest = [container_id for container_id in expected if container_id != "c5"]
    assert behind == (rest[:1], len(rest) > 1)


RUNNING, EXPIRED = ContainerStatus.CONTAINER_STATUS_RUNNING, ContainerStatus.CONTAINER_STATUS_EXPIRED
ACTIVE, DELETED = ContainerStatus.CONTAINER_STATUS_ACTIVE, ContainerStatus.CONTAINER_STATUS_DELETED


def passed(container_id: str, status: ContainerStatus | None, *, minutes: int | None = 20) -> ContainerRecord:
    """Return a container that a provider keeps, of the status that it told last."""
    record = replace(container(container_id), key="main")
    if status is not None:
        record.container.status = status
    if minutes is None:
        record.container.ClearField("expires_after")
    return record


@pytest.mark.parametrize("providers", [None, {OPENAI}, {OPENAI, COHERE}])
@pytest.mark.parametrize("status", [None, RUNNING])
async def test_a_list_has_sizes(
    store: ContainerStore, providers: set[Provider] | None, status: ContainerStatus | None
) -> None:
    """Each record has the bytes of the files that are in its container now; the message has none."""
    for record in (container("empty", provider=COHERE), container("box"), passed("theirs", RUNNING)):
        await store.add_container(record)
    await add_files(store, "f1", "f2")
    await store.add_file("ours", file("f3", size=HUGE), quotas=ROOMY)
    await store.delete_file("ours", "box", "f1")
    wanted = None if providers is None else frozenset(providers)
    page = await store.list_containers("ours", Pagination(limit=9), providers=wanted, status=status)
    empty = [("empty", 0)] if providers != {OPENAI} else []
    assert sorted((record.container.id, record.bytes) for record in page.data) == [
        ("box", HUGE + 10),
        *empty,
        ("theirs", 0),
    ]
    assert not any(record.container.HasField("bytes") for record in page.data)
    assert (await store.get_container("ours", "box")).bytes == HUGE + 10


async def test_a_status_filters(store: ContainerStore, clock: FixedClock) -> None:
    """The clock tells the status of a hosted container; that of a provider's is what it said last, or the clock."""
    for record in (
        container("hosted"),
        passed("running", RUNNING),
        passed("active", ACTIVE),
        passed("expired", EXPIRED),
        passed("deleted", DELETED),
        passed("unknown", None),
        passed("running for ever", RUNNING, minutes=None),
    ):
        await store.add_container(record)

    async def names(status: ContainerStatus) -> list[str]:
        return (await listed(store, Pagination(limit=9, descending=False), status=status))[0]

    assert await names(RUNNING) == ["hosted", "running", "active", "running for ever"]
    assert await names(EXPIRED) == ["expired"]
    clock.now = NOW + 5 + 20 * 60
    assert await names(EXPIRED) == ["expired"]
    clock.now += 1
    assert await names(RUNNING) == ["running for ever"]
    assert await names(EXPIRED) == ["hosted", "running", "active", "expired"]


@pytest.mark.parametrize("descending", [True, False])
async def test_pages_of_a_status_join_into_the_whole(
    store: ContainerStore, clock: FixedClock, *, descending: bool
) -> None:
    """However many others are in between, each page is full, and the last one says that nothing follows."""
    running = {0, 3, 700, 701, 1_300}
    for number in range(1_301):
        record = container(f"c{number}")
        record.container.last_active_at = NOW + 10_000 if number in running else NOW - 10_000
        await store.add_container(record)
    ids = [f"c{number}" for number in sorted(running, reverse=descending)]
    first, has_more = await listed(store, Pagination(limit=2, descending=descending), status=RUNNING)
    assert (first, has_more) == (ids[:2], True)
    second = await listed(store, Pagination(limit=3, after=first[-1], descending=descending), status=RUNNING)
    assert second == (ids[2:], False)
    assert clock.now == NOW
