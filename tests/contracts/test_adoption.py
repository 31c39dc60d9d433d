"""What the stores promise of containers and files that tenants found in their own accounts."""

from dataclasses import replace

import pytest

from berth.core.errors import NotFoundError, StorageError
from berth.core.ports.container_store import ContainerRecord, ContainerStore, ForeignRow
from berth.core.ports.file_store import FileRecord, FileStore
from berth.core.ports.pages import Pagination
from berth.v1.container_pb2 import Container
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import Provider
from support.fakes.records import COHERE, NOW, OPENAI, ROOMY, container, listed
from support.fakes.stores import FixedClock


def found(container_id: str, *, tenant: str = "ours", provider: Provider = OPENAI, at: int = NOW) -> ContainerRecord:
    """Return the record of a container that a tenant found."""
    return replace(container(container_id, tenant=tenant, provider=provider), key="direct", adopted_at=at)


def found_file(file_id: str, *, tenant: str = "ours", at: int = NOW) -> FileRecord:
    """Return the record of a file that a tenant found."""
    file = File(id=file_id, object="file", purpose="batch", created_at=NOW)
    return FileRecord(file, tenant, OPENAI, key="direct", adopted_at=at)


async def test_each_tenant_and_provider_has_a_row(store: ContainerStore) -> None:
    """The same id can be adopted by two tenants and at two providers, and each row goes for itself."""
    for record in (found("box"), found("box", tenant="theirs"), found("box", provider=COHERE)):
        assert await store.adopt(record)
        assert not await store.adopt(record)
    assert (await store.get_container("ours", "box", COHERE)).provider == COHERE
    await store.delete_container("ours", "box", OPENAI)
    with pytest.raises(NotFoundError):
        await store.get_container("ours", "box", OPENAI)
    assert await store.get_provider("ours", "box") == COHERE
    assert (await store.get_container("theirs", "box")).adopted_at == NOW


async def test_what_berth_created_stays_as_it_is(store: ContainerStore) -> None:
    """Adoption never replaces the row of a container that Berth created, and is no obstacle to creating one."""
    await store.add_container(replace(container("box"), key="main"))
    assert not await store.adopt(found("box"))
    assert (await store.get_container("ours", "box")).key == "main"
    await store.adopt(found("other", tenant="theirs"))
    await store.add_container(replace(container("other"), key="main"))
    with pytest.raises(StorageError):
        await store.add_container(replace(container("box", tenant="theirs"), key="main"))
    await store.add_container(replace(container("box", tenant="theirs"), key="direct"), is_own=True)


async def test_only_created_ones_are_foreign(store: ContainerStore) -> None:
    """Other tenants' containers are told with their provider and key, adopted and deleted ones are not."""
    await store.add_container(replace(container("box", tenant="theirs"), key="main"))
    await store.adopt(found("adopted", tenant="theirs"))
    assert await store.foreign("ours", "box") == [ForeignRow(OPENAI, "main", "theirs")]
    assert [await store.foreign("theirs", "box"), await store.foreign("ours", "adopted")] == [[], []]
    await store.delete_container("theirs", "box")
    assert await store.foreign("ours", "box") == []


async def test_more_is_learned_about_a_container(store: ContainerStore) -> None:
    """A container of which only the id is known is in no list; later what its provider says is stored."""
    bare = ContainerRecord(Container(id="box", object="container"), "ours", OPENAI, key="direct", adopted_at=NOW)
    assert await store.adopt(bare)
    assert await listed(store, Pagination(9)) == ([], False)
    assert not await store.adopt(found("box"))
    assert await listed(store, Pagination(9)) == (["box"], False)


async def test_a_deleted_container_is_adopted_again(store: ContainerStore) -> None:
    """If the provider has it after all, its row is new again."""
    await store.adopt(found("box"))
    await store.delete_container("ours", "box")
    assert await store.adopt(found("box"))
    assert (await store.get_container("ours", "box")).container.name == "box"


async def test_the_oldest_are_forgotten(store: ContainerStore, files: FileStore) -> None:
    """A tenant keeps the last ones that it adopted; those of others, and created ones, do not count."""
    await store.add_container(replace(container("created"), key="main"))
    await store.adopt(found("theirs", tenant="theirs", at=0), keep=2)
    for number in range(4):
        await store.adopt(found(f"box{number}", at=NOW + number), keep=2)
        await files.adopt(found_file(f"file-{number}", at=NOW + number), keep=2)
    assert await listed(store, Pagination(9)) == (["box3", "box2", "created"], False)
    assert await listed(store, Pagination(9), tenant="theirs") == (["theirs"], False)
    assert [record.file.id for record in (await files.list("ours", Pagination(9))).data] == ["file-3", "file-2"]


async def test_expired_ones_are_forgotten(store: ContainerStore, clock: FixedClock) -> None:
    """After the retention an adopted container goes, and one that Berth created goes after one of its own."""
    await store.add_container(replace(container("created"), key="main", created_by="first"))
    await store.adopt(found("box"))
    clock.now = NOW + 5 + 20 * 60 + 3600
    assert await store.forget(retention_seconds=3600, limit=10, adopted=True) == 0
    clock.advance(1)
    assert await store.forget(retention_seconds=3600, limit=10, adopted=True) == 1
    assert await listed(store, Pagination(9)) == (["created"], False)
    assert await store.forget(retention_seconds=3601, limit=10, adopted=False) == 0
    assert await store.forget(retention_seconds=3600, limit=10, adopted=False) == 1
    assert await listed(store, Pagination(9)) == ([], False)
    with pytest.raises(NotFoundError):
        await store.get_container("ours", "created")


async def test_created_ones_of_an_unknown_age_stay(store: ContainerStore, clock: FixedClock) -> None:
    """So do hosted ones, those without a last activity, and new ones of a provider with a wrong clock."""
    await store.add_container(container("hosted"))
    unknown = replace(container("unknown"), key="main", created_by="first")
    unknown.container.ClearField("last_active_at")
    await store.add_container(unknown)
    clock.now = NOW + 86_400
    new = replace(container("new"), key="main", created_by="first")
    new.container.created_at = clock.now
    await store.add_container(new)
    clock.advance(3600)
    assert await store.forget(retention_seconds=3600, limit=10, adopted=False) == 0
    assert await listed(store, Pagination(9)) == (["new", "unknown", "hosted"], False)


async def test_files_are_adopted_alike(files: FileStore) -> None:
    """Two tenants may adopt the same file; only what was created is foreign to others."""
    assert await files.adopt(found_file("file-1"))
    assert await files.adopt(found_file("file-1", tenant="theirs"))
    assert not await files.adopt(found_file("file-1"))
    assert not await files.is_foreign("ours", "file-1")
    await files.add(replace(found_file("file-2", tenant="theirs"), adopted_at=None, key="main"), quotas=ROOMY)
    assert await files.foreign("ours", "file-2") == [ForeignRow(OPENAI, "main", "theirs")]
    await files.delete("ours", "file-1", OPENAI)
    with pytest.raises(NotFoundError):
        await files.get("ours", "file-1")
    assert (await files.get("theirs", "file-1", OPENAI)).key == "direct"
