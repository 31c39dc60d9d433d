"""What every FileStore does."""

import asyncio
from dataclasses import replace
from hashlib import sha256

import pytest

from berth.core.errors import InvalidRequestError, NotFoundError, StorageError
from berth.core.ports.blob_store import BlobState
from berth.core.ports.container_store import Quotas
from berth.core.ports.file_store import FileRecord, FileStore
from berth.core.ports.pages import Pagination
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import Provider
from support.fakes.records import COHERE, NOW, OLLAMA, ROOMY, STRANGE_IDS
from support.fakes.stores import FixedClock


def stored(
    file_id: str,
    *,
    tenant: str = "ours",
    provider: Provider = OLLAMA,
    size: int = 10,
    purpose: str = "batch",
    expires_at: int | None = None,
) -> FileRecord:
    file = File(
        id=file_id,
        object="file",
        bytes=size,
        created_at=NOW,
        expires_at=expires_at,
        filename="報告.txt",
        purpose=purpose,
        status="processed",
    )
    digest = sha256(file_id.encode()).hexdigest()
    return FileRecord(file, tenant, provider, "text/plain", digest, f"blob of {file_id}")


async def listed(store: FileStore, pagination: Pagination, **filters: object) -> tuple[list[str], bool]:
    data, has_more = await store.list("ours", pagination, **filters)  # type: ignore[arg-type] # those of the test
    return [record.file.id for record in data], has_more


async def test_a_file_comes_back_as_it_was(files: FileStore) -> None:
    """Every field that is read back is what was written."""
    record = stored("file-1", expires_at=NOW + 60)
    assert await files.add(record, quotas=ROOMY) == record.blob
    assert await files.get("ours", "file-1") == record
    assert await files.get_provider("ours", "file-1") == OLLAMA


async def test_nobody_sees_anothers(files: FileStore) -> None:
    """To another tenant a file is not there; that it is another's, only `is_foreign` tells."""
    await files.add(stored("file-1"), quotas=ROOMY)
    for attempt in (files.get, files.get_provider, files.delete):
        with pytest.raises(NotFoundError):
            await attempt("theirs", "file-1")
    assert not (await files.list("theirs", Pagination(10))).data
    assert await files.is_foreign("theirs", "file-1")
    assert not await files.is_foreign("ours", "file-1")
    assert not await files.is_foreign("ours", "file-2")


@pytest.mark.parametrize("strange", STRANGE_IDS)
async def test_an_id_that_was_never_given_out_is_absent(files: FileStore, strange: str) -> None:
    """Whatever is in an id, it is merely not found."""
    for attempt in (files.get, files.get_provider, files.delete):
        with pytest.raises(NotFoundError):
            await attempt("ours", strange)
    with pytest.raises(InvalidRequestError) as caught:
        await files.list("ours", Pagination(10, after=strange or "none"))
    assert caught.value.param == "after"


async def test_pages(files: FileStore) -> None:
    """Pages follow each other in both directions, by provider and purpose, also behind one that is gone."""
    for index in range(4):
        provider, purpose = (OLLAMA, COHERE)[index % 2], ("batch", "vision")[index // 2]
        await files.add(stored(f"f{index}", provider=provider, purpose=purpose), quotas=ROOMY)
    assert await listed(files, Pagination(3)) == (["f3", "f2", "f1"], True)
    assert await listed(files, Pagination(3, after="f1")) == (["f0"], False)
    assert await listed(files, Pagination(2, descending=False)) == (["f0", "f1"], True)
    assert await listed(files, Pagination(9), purpose="batch") == (["f1", "f0"], False)
    assert await listed(files, Pagination(9), providers=frozenset({COHERE})) == (["f3", "f1"], False)
    both = frozenset({COHERE, OLLAMA})
    assert await listed(files, Pagination(1), providers=both, purpose="vision") == (["f3"], True)
    assert await listed(files, Pagination(9), providers=frozenset()) == ([], False)
    await files.delete("ours", "f2")
    assert await listed(files, Pagination(9, after="f2")) == (["f1", "f0"], False)


async def test_an_expired_file_is_not_there(files: FileStore, clock: FixedClock) -> None:
    """From its last second on nobody sees it, and a purge removes it and lets go of its bytes, once."""
    await files.add(stored("f1", expires_at=clock.now + 60), quotas=ROOMY)
    await files.add(stored("f2"), quotas=ROOMY)
    clock.advance(59)
    assert await listed(files, Pagination(9)) == (["f2", "f1"], False)
    assert await files.purge(limit=10) == (0, [])
    clock.advance(1)
    assert await listed(files, Pagination(9)) == (["f2"], False)
    for attempt in (files.get, files.get_provider, files.delete):
        with pytest.raises(NotFoundError):
            await attempt("ours", "f1")
    assert await files.purge(limit=10) == (1, ["blob of f1"])
    assert await files.purge(limit=10) == (0, [])


async def test_a_tenant_has_a_quota(files: FileStore) -> None:
    """What a tenant's files hold is bounded; what is deleted, or kept by a provider, does not count."""
    quotas = Quotas(container_bytes=1, tenant_bytes=100)
    await files.add(stored("theirs", tenant="theirs", size=90), quotas=quotas)
    await files.add(stored("f1", size=60), quotas=quotas)
    with pytest.raises(InvalidRequestError) as caught:
        await files.add(stored("f2", size=41), quotas=quotas)
    assert (caught.value.param, caught.value.code) == ("file", "tenant_size_exceeded")
    await files.add(replace(stored("f3", size=1000), key="main", blob="", sha256=""), quotas=quotas)
    assert await files.delete("ours", "f3") == []
    assert await files.delete("ours", "f1") == ["blob of f1"]
    await files.add(stored("f4", size=100), quotas=quotas)


async def test_long_pages(files: FileStore) -> None:
    """A page may be long, and it ends and goes on where it should."""
    ids = [f"f{number}" for number in range(760)]
    await asyncio.gather(*(files.add(stored(file_id), quotas=ROOMY) for file_id in ids))
    added, _ = await listed(files, Pagination(limit=len(ids), descending=False))
    assert sorted(added) == sorted(ids)
    ids = added  # writes that run at the same time have no order
    for limit in (249, 250, 251, 499, 500, 501, 759, 760, 761):
        for order in (ids, ids[::-1]):
            pagination = Pagination(limit=limit, descending=order is not ids)
            assert await listed(files, pagination) == (order[:limit], limit < len(ids))
            rest = (
                replace(pagination, after=order[limit - 1])
                if limit < len(ids)
                else replace(pagination, after=order[-1])
            )
            assert await listed(files, rest) == (order[limit:][:limit], limit * 2 < len(ids))


async def test_the_same_content_is_held_once(files: FileStore) -> None:
    """A second file of the same content refers to the first one's blob, which goes with the last of them."""
    first = stored("f1")
    await files.add(first, quotas=ROOMY)
    assert await files.add(replace(stored("f2"), sha256=first.sha256), quotas=ROOMY) == first.blob
    assert await files.find_blob(first.sha256, first.file.bytes) == first.blob
    assert await files.find_blob(first.sha256, first.file.bytes + 1) is None
    assert await files.delete("ours", "f1") == []
    assert await files.delete("ours", "f2") == [first.blob]
    assert await files.find_blob(first.sha256, first.file.bytes) is None


async def test_damaged_bytes_are_replaced(files: FileStore) -> None:
    """A new file of a content that was found damaged brings its own blob, for every file that has the content."""
    first = stored("f1")
    await files.add(first, quotas=ROOMY)
    assert await files.note_damage("another blob") == 0
    assert [await files.note_damage(first.blob) for _ in range(2)] == [1, 2]
    second = replace(stored("f2", tenant="theirs"), sha256=first.sha256)
    assert await files.add(second, quotas=ROOMY) == second.blob
    assert (await files.get("ours", "f1")).blob == second.blob
    assert list(await files.unreferenced([first.blob, second.blob])) == [first.blob]
    assert await files.note_damage(first.blob) == 0
    assert await files.add(replace(stored("f3"), sha256=first.sha256), quotas=ROOMY) == second.blob
    assert [await files.delete("ours", "f1"), await files.delete("ours", "f3")] == [[], []]
    assert await files.delete("theirs", "f2") == [second.blob]


async def test_a_blob_has_a_state(files: FileStore) -> None:
    """The state of a blob has its checksums, and says if damage was noted; without a file there is none."""
    first = replace(stored("f1"), block_sums=b"sums")
    assert await files.blob_state(first.blob) is None
    await files.add(first, quotas=ROOMY)
    assert await files.blob_state(first.blob) == BlobState(is_damaged=False, block_sums=b"sums")
    await files.note_damage(first.blob)
    assert await files.blob_state(first.blob) == BlobState(is_damaged=True, block_sums=b"sums")
    await files.delete("ours", "f1")
    assert await files.blob_state(first.blob) is None


async def test_an_id_is_given_once(files: FileStore) -> None:
    """A second file of an id fails, and changes nothing."""
    await files.add(stored("f1"), quotas=ROOMY)
    with pytest.raises(StorageError):
        await files.add(stored("f1", tenant="theirs"), quotas=ROOMY)
    assert (await files.get("ours", "f1")).tenant == "ours"


async def test_what_nobody_holds(files: FileStore) -> None:
    """Of some blobs those are told that no file has."""
    await files.add(stored("f1"), quotas=ROOMY)
    assert list(await files.unreferenced(["blob of f1", "other"])) == ["other"]
    await files.delete("ours", "f1")
    assert list(await files.unreferenced(["blob of f1"])) == ["blob of f1"]
