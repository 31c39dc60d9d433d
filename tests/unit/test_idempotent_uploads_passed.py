"""Uploads with an idempotency key to a provider, whose process died: what was not sent whole has made nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from berth.adapters.sql.idempotency import SqlIdempotency
from berth.adapters.upstream.files import PassthroughFiles
from berth.core.background import BackgroundTasks
from berth.core.idempotency.backend import IdempotentBackend, IdempotentFiles
from berth.core.idempotency.fingerprints import hash_of
from berth.core.idempotency.leases import LEASE_SECONDS
from berth.core.ports.idempotency_store import Slot
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.provider_pb2 import Provider
from support.fakes.idempotent import KEYED, READ, STORED, Died, Dying, DyingFiles, records_of
from support.fakes.subjects import OURS, refused
from support.fakes.uploads import GivenFile, GivenUpload, stalled
from support.providers.scripted import FILE, MAIN, Provided, answer, passing
from support.servers.hosted import Kept
from support.servers.passthrough import Passthrough

OPENAI = Provider.PROVIDER_OPENAI
UPLOAD = GivenUpload("cntr_1")
OTHER = GivenUpload("cntr_1", filename="b.txt")
TENANT_FILE = FILE | {"id": "file-1", "object": "file", "filename": "a.txt", "purpose": "batch"}
either = pytest.mark.parametrize("resumes", [True, False])


@pytest.fixture
async def passed(provider: Provided) -> AsyncIterator[Passthrough]:
    """Open a backend that has made the container cntr_1 at the provider."""
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(OURS, CreateContainerRequest(provider=OPENAI, name="box"))
        provider.asked.clear()
        provider.answers(answer(FILE))
        yield passed


def process(kept: Kept, passed: Passthrough, name: str, *, resumes: bool, dies: str | None = None) -> IdempotentBackend:
    return IdempotentBackend(Dying(passed.backend, dies), records_of(kept, name), resumes=resumes)


@either
async def test_what_was_never_read_whole_is_sent(
    kept: Kept, provider: Provided, passed: Passthrough, *, resumes: bool
) -> None:
    """A provider cannot have had all of it: nobody needs to be told that nobody can tell."""
    store, record = (
        SqlIdempotency(kept.database),
        records_of(kept, "dead").new_record("container_file_create cntr_1", None),
    )
    assert await store.acquire(Slot("ours", hash_of("key")), record, now=kept.clock()) is None
    kept.clock.advance(LEASE_SECONDS)
    backend = process(kept, passed, "p", resumes=resumes)
    for is_replayed in (False, True):
        file = await backend.create_container_file(KEYED, UPLOAD)
        assert file.extra_fields.idempotent_replayed is is_replayed
    assert len(provider.asked) == 1


async def test_what_may_have_been_sent_whole_is_reported(kept: Kept, provider: Provided, passed: Passthrough) -> None:
    """Where all of it was read the provider may have it, and may not do it once for a key: nothing is sent."""
    with pytest.raises(Died):
        await process(kept, passed, "dead", resumes=False, dies=READ).create_container_file(KEYED, UPLOAD)
    for _ in range(2):
        error = await refused(process(kept, passed, "p", resumes=False).create_container_file(KEYED, UPLOAD))
        assert error.code == "idempotency_outcome_unknown"
    assert not provider.asked


async def test_what_may_have_been_sent_whole_is_sent_again_for_its_request_alone(
    kept: Kept, provider: Provided, passed: Passthrough
) -> None:
    """To a provider that does it once for a key: with the same key, and nothing else with it."""
    with pytest.raises(Died):
        await process(kept, passed, "dead", resumes=True, dies=STORED).create_container_file(KEYED, UPLOAD)
    backend = process(kept, passed, "p", resumes=True)
    assert (await refused(backend.create_container_file(KEYED, OTHER))).code == "idempotency_key_reused"
    assert not (await backend.create_container_file(KEYED, UPLOAD)).extra_fields.idempotent_replayed
    assert [asked.form["file"][0] for asked in provider.asked] == ["a.txt", "a.txt"]
    assert len({asked.headers["Idempotency-Key"] for asked in provider.asked}) == 1


@either
async def test_a_process_that_only_slept_sends_no_second_one(
    kept: Kept, provider: Provided, passed: Passthrough, *, resumes: bool
) -> None:
    """Should an upload go on after all when another process has its record, the provider never gets its end."""
    slow, begun, go = stalled(UPLOAD)
    sleeping = asyncio.create_task(process(kept, passed, "slow", resumes=resumes).create_container_file(KEYED, slow))
    await begun.wait()
    kept.clock.advance(LEASE_SECONDS)
    await process(kept, passed, "p", resumes=resumes).create_container_file(KEYED, UPLOAD)
    go.set()
    assert (await refused(sleeping)).code == "idempotency_in_progress"
    assert len(provider.asked) == 1


@either
async def test_a_file_in_no_container_is_told_to_its_request_alone(
    kept: Kept, provider: Provided, passed: Passthrough, *, resumes: bool
) -> None:
    """Its row has the mark, which other bytes, or another purpose, do not get the answer of."""
    provider.answers(answer(TENANT_FILE))
    files = PassthroughFiles(passed.backend._account, store=kept.file_store, background=BackgroundTasks())
    dead = IdempotentFiles(DyingFiles(files, STORED), records_of(kept, "dead"), resumes=resumes)
    with pytest.raises(Died):
        await dead.create_file(KEYED, GivenFile(OPENAI))
    live = IdempotentFiles(files, records_of(kept), resumes=resumes)
    for other in (GivenFile(OPENAI, (b"other",)), GivenFile(OPENAI, purpose="evals")):
        assert (await refused(live.create_file(KEYED, other))).code == "idempotency_key_reused"
    assert (await live.create_file(KEYED, GivenFile(OPENAI))).extra_fields.idempotent_replayed
    assert [asked.method for asked in provider.asked] == ["POST", "GET"]
