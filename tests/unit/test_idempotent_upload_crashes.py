"""Uploads with an idempotency key whose process died: told to the same request alone, and to no other."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from berth.adapters.sql.idempotency import SqlIdempotency
from berth.core.caller import Caller
from berth.core.errors import BerthError
from berth.core.idempotency.backend import IdempotentBackend, IdempotentFiles
from berth.core.idempotency.fingerprints import hash_of
from berth.core.idempotency.leases import LEASE_SECONDS
from berth.core.ports.idempotency_store import Slot
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.file_pb2 import File, FileExpiresAfter
from support.fakes.idempotent import BOX, KEYED, READ, STORED, Died, Dying, DyingFiles, records_of
from support.fakes.subjects import OLLAMA, refused
from support.fakes.uploads import GivenFile, GivenUpload, stalled
from support.servers.hosted import Kept
from support.servers.service import eventually

OURS = Caller("ours", "first")
EXPIRY = FileExpiresAfter(anchor="created_at", seconds=3600)
Given = GivenUpload | GivenFile


class Place:
    """Where `given` is uploaded to: processes by name, on what is kept."""

    def __init__(self, kept: Kept, given: Given) -> None:
        self.kept = kept
        self.given = given
        self.leases = {name: records_of(kept, name) for name in ("p", "dead")}

    async def store(self, upload: Given, *, process: str = "p", dies: str | None = None) -> ContainerFile | File:
        """Upload with the key, in a process that may die."""
        leases, kept = self.leases[process], self.kept
        if isinstance(upload, GivenFile):
            files = IdempotentFiles(DyingFiles(kept.files, dies), leases, resumes=True)
            return await files.create_file(KEYED, upload)
        backend = IdempotentBackend(Dying(kept.backend, dies), leases, resumes=True)
        return await backend.create_container_file(KEYED, upload)

    async def dies(self, when: str) -> None:
        """Have a process die over the upload, and its lease lapse."""
        with pytest.raises(Died):
            await self.store(self.given, process="dead", dies=when)

    def left(self) -> tuple[object, int]:
        """Return how many files there are, and how many blobs."""
        rows = self.kept.row("SELECT (SELECT count(*) FROM files) + (SELECT count(*) FROM tenant_files)")
        return rows and rows[0], self.kept.left().blobs

    async def is_told(self) -> None:
        """Make sure that the request itself is told what was stored, and that it was stored once."""
        told = await self.store(replace(self.given))
        assert told.extra_fields.idempotent_replayed
        assert self.left() == (1, 1)


async def in_container(kept: Kept) -> Place:
    return Place(kept, GivenUpload((await kept.backend.create_container(OURS, BOX)).id))


async def in_none(kept: Kept) -> Place:
    return Place(kept, GivenFile(OLLAMA))


Opened = Callable[[Kept], Awaitable[Place]]
both = pytest.mark.parametrize("opened", [in_container, in_none])
others = pytest.mark.parametrize(
    ("opened", "other"),
    [
        (in_container, {"content": (b"other",)}),
        (in_container, {"filename": "b.txt"}),
        (in_container, {"content_type": "text/css"}),
        (in_container, {"file_path": "sub/a.txt"}),
        (in_none, {"content": (b"other",)}),
        (in_none, {"filename": "b.txt"}),
        (in_none, {"content_type": "text/css"}),
        (in_none, {"purpose": "evals"}),
        (in_none, {"expires_after": EXPIRY}),
    ],
)


def is_reused(error: BerthError) -> bool:
    return (error.code, error.is_replayed) == ("idempotency_key_reused", False)


@others
async def test_what_a_dead_process_stored_is_told_to_its_request_alone(
    kept: Kept, opened: Opened, other: dict[str, Any]
) -> None:
    """Whatever is different makes another request, which takes nothing from the one that was done."""
    place = await opened(kept)
    await place.dies(STORED)
    assert is_reused(await refused(place.store(replace(place.given, **other))))
    await place.is_told()


@others
async def test_what_a_dead_process_only_read_is_stored_for_its_request_alone(
    kept: Kept, opened: Opened, other: dict[str, Any]
) -> None:
    """Nothing is stored for another request, whose refusal is not what the key is told from then on."""
    place = await opened(kept)
    await place.dies(READ)
    for _ in range(2):
        assert is_reused(await refused(place.store(replace(place.given, **other))))
        assert place.left() == (0, 0)
    assert not (await place.store(replace(place.given))).extra_fields.idempotent_replayed
    await place.is_told()


@pytest.mark.parametrize("when", [READ, STORED])
async def test_a_copy_is_told_to_its_request_alone(kept: Kept, when: str) -> None:
    """A copy of another file, or bytes of one's own, are other requests."""
    home = (await kept.backend.create_container(OURS, BOX)).id
    ids = [(await kept.files.create_file(OURS, GivenFile(OLLAMA))).id for _ in range(2)]
    copy = GivenUpload(home, (), file_id=ids[0])
    place = Place(kept, copy)
    await place.dies(when)
    for other in (replace(copy, file_id=ids[1]), replace(copy, file_id=None), replace(copy, file_path="sub/a.txt")):
        assert is_reused(await refused(place.store(other)))
    assert (await place.store(copy)).extra_fields.idempotent_replayed is (when == STORED)
    assert (await place.store(copy)).extra_fields.idempotent_replayed
    assert place.left() == (3, 1)


@both
@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_caller_that_breaks_off_while_it_is_compared_frees_the_key(
    kept: Kept, opened: Opened, *, is_cancelled: bool
) -> None:
    """It may come again at once, and is told what was stored."""
    place = await opened(kept)
    await place.dies(STORED)
    slow, begun, go = stalled(place.given, breaks=True)
    reading = asyncio.create_task(place.store(slow))
    await begun.wait()
    assert (await refused(place.store(replace(place.given)))).code == "idempotency_in_progress"
    if is_cancelled:
        reading.cancel()
    else:
        go.set()
    with pytest.raises(asyncio.CancelledError if is_cancelled else ConnectionError):
        await reading
    await place.is_told()


@both
async def test_a_lease_is_renewed_while_an_upload_is_compared(kept: Kept, opened: Opened) -> None:
    """A caller that takes longer than a lease for its bytes is not taken for a dead one."""
    place, ticks = await opened(kept), asyncio.Queue[None]()
    slow, begun, go = stalled(place.given)
    await place.dies(STORED)

    async def sleep(_: float) -> None:
        await ticks.get()

    place.leases["p"].sleep = sleep
    reading = asyncio.create_task(place.store(slow))
    await begun.wait()
    kept.clock.advance(LEASE_SECONDS - 1)
    ticks.put_nowait(None)
    until = kept.clock() + LEASE_SECONDS
    await eventually(lambda: kept.row("SELECT lease_until FROM idempotency") == (until,))
    go.set()
    assert (await reading).extra_fields.idempotent_replayed


@both
@pytest.mark.parametrize("process", ["p", "dead"])
async def test_a_process_that_only_slept_stores_nothing_more(kept: Kept, opened: Opened, process: str) -> None:
    """Should an upload go on after all when its claim has gone to another process, or request, it is stopped."""
    place = await opened(kept)
    slow, begun, go = stalled(place.given)
    sleeping = asyncio.create_task(place.store(slow, process="dead"))
    await begun.wait()
    kept.clock.advance(LEASE_SECONDS)
    made = await place.store(replace(place.given), process=process)
    go.set()
    assert (await refused(sleeping)).code == "idempotency_in_progress"
    assert place.left() == (1, 1)
    assert (await place.store(replace(place.given))).id == made.id


@both
async def test_an_upload_that_was_never_read_whole_made_nothing(kept: Kept, opened: Opened) -> None:
    """A claim in which nothing is noted is as good as none when its lease has lapsed, for any request."""
    place = await opened(kept)
    store, record = SqlIdempotency(kept.database), place.leases["dead"].new_record("file_create PROVIDER_GROQ", None)
    assert await store.acquire(Slot("ours", hash_of("key")), record, now=kept.clock()) is None
    kept.clock.advance(LEASE_SECONDS)
    assert not (await place.store(replace(place.given))).extra_fields.idempotent_replayed
    await place.is_told()
