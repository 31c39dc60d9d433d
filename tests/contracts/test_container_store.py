"""The contract of ContainerStore, run against every store and the fake; its lists have a suite of their own."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from berth.core.errors import ContainerExpiredError, InvalidRequestError, NotFoundError, StorageError
from berth.core.ports.container_store import ContainerRecord, ContainerStore, ContainerSummary, Quotas
from berth.core.ports.pages import Pagination
from berth.v1.container_pb2 import Container, ContainerStatus, NetworkPolicy, NetworkPolicyType
from berth.v1.container_service_pb2 import DomainSecret
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


def full_container() -> ContainerRecord:
    record = container("full", provider=OLLAMA, name="Größe 'S' 🚢")
    record.container.memory_limit = "4g"
    record.container.metadata.update({"k": "v", "": 'ü"\n'})
    record.container.network_policy.CopyFrom(
        NetworkPolicy(type=NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST, allowed_domains=["a.example", "b.example"])
    )
    return record


def offline_container() -> ContainerRecord:
    record = container("offline")
    policy = NetworkPolicy(type=NetworkPolicyType.NETWORK_POLICY_TYPE_DISABLED)
    record.container.network_policy.CopyFrom(policy)
    return record


@pytest.mark.parametrize("make", [full_container, offline_container, lambda: container("bare")])
async def test_a_container_comes_back_as_it_was_added(
    store: ContainerStore, make: Callable[[], ContainerRecord]
) -> None:
    """What was added is returned and listed, field by field, with nothing added or lost."""
    record = make()
    await store.add_container(record)
    assert await store.get_container("ours", record.container.id) == record
    assert (await store.list_containers("ours", Pagination(limit=1))).data == [record]


async def test_records_are_copies(store: ContainerStore) -> None:
    """Changing a record outside, before or after, does not change what is stored."""
    record = container("box")
    await store.add_container(record)
    record.container.name = "changed"
    (await store.get_container("ours", "box")).container.name = "changed too"
    assert (await store.get_container("ours", "box")).container.name == "box"


async def test_secrets_are_never_returned(store: ContainerStore) -> None:
    """Domain secrets are accepted, and no method gives them back."""
    secret = DomainSecret(domain="a.example", name="token", value="hush-hush")
    await store.add_container(full_container(), domain_secrets=[secret])
    assert "hush" not in repr(await store.get_container("ours", "full"))
    assert "hush" not in repr(await store.list_containers("ours", Pagination(limit=1)))
    assert await store.delete_container("ours", "full") == []


async def test_a_file_comes_back_as_it_was_added(store: ContainerStore) -> None:
    """A file is returned as it was added, with its container's provider, and how long that lives."""
    await store.add_container(container("box", provider=COHERE))
    record = file("f", path="/mnt/data/größe 'x' 🚢.txt", size=4_294_967_295)
    await store.add_file("ours", record, quotas=ROOMY)
    assert await store.get_file("ours", "box", "f") == (ContainerSummary(COHERE, NOW + 5, 20), record)
    assert (await store.list_files("ours", "box", Pagination(limit=1))).data == [record]


@pytest.mark.parametrize("strange", STRANGE_IDS)
async def test_what_is_not_there_is_not_found(store: ContainerStore, strange: str) -> None:
    """Any id that was never added is answered with NotFoundError, without param and code, in a sane message."""
    await store.add_container(container("box"))
    for attempt in (
        store.get_container("ours", strange),
        store.delete_container("ours", strange),
        store.get_file("ours", strange, "f"),
        store.get_file("ours", "box", strange),
        store.delete_file("ours", strange, "f"),
        store.delete_file("ours", "box", strange),
        store.get_container(strange, "box"),
    ):
        with pytest.raises(NotFoundError) as caught:
            await attempt
        assert (caught.value.param, caught.value.code) == (None, None)
        assert len(caught.value.message) < 200
    assert await store.list_files("ours", strange, Pagination(limit=1)) == ([], False)
    assert await listed(store, Pagination(limit=1), name=strange) == ([], False)
    assert await listed(store, Pagination(limit=1), tenant=strange) == ([], False)


async def test_not_found_names_what_is_missing(store: ContainerStore) -> None:
    """The messages are the provider's own, with the ids in them."""
    with pytest.raises(NotFoundError, match=r"^Container cntr_1 not found\.$"):
        await store.get_container("ours", "cntr_1")
    with pytest.raises(NotFoundError, match=r"^File cfile_1 not found on container cntr_1\.$"):
        await store.get_file("ours", "cntr_1", "cfile_1")


async def test_another_tenants_container_is_not_there(store: ContainerStore) -> None:
    """No method reaches a container or a file of another tenant, and the answer is that of absence."""
    await store.add_container(container("box"))
    await add_files(store, "f")
    for attempt in (
        store.get_container("theirs", "box"),
        store.delete_container("theirs", "box"),
        store.add_file("theirs", file("g"), quotas=ROOMY),
        store.get_file("theirs", "box", "f"),
        store.delete_file("theirs", "box", "f"),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert await listed(store, Pagination(limit=9), tenant="theirs") == ([], False)
    assert await store.list_files("theirs", "box", Pagination(limit=9)) == ([], False)
    with pytest.raises(InvalidRequestError):
        await listed(store, Pagination(limit=9, after="box"), tenant="theirs")
    assert await listed_files(store, Pagination(limit=9)) == (["f"], False)


async def test_a_file_is_found_in_its_own_container_only(store: ContainerStore) -> None:
    """The id of a file in another container of the same tenant is not found, read or deleted."""
    await store.add_container(container("box"))
    await store.add_container(container("other"))
    await add_files(store, "f")
    with pytest.raises(NotFoundError):
        await store.get_file("ours", "other", "f")
    with pytest.raises(NotFoundError):
        await store.delete_file("ours", "other", "f")


async def test_deleting_a_container_deletes_its_files(store: ContainerStore) -> None:
    """The blobs of its living files are returned, and neither it nor any file is found again."""
    await store.add_container(container("box"))
    await add_files(store, "f1", "f2", "f3")
    await store.delete_file("ours", "box", "f2")
    assert await store.delete_container("ours", "box") == ["blob of f1", "blob of f3"]
    for attempt in (
        store.get_container("ours", "box"),
        store.get_file("ours", "box", "f1"),
        store.delete_file("ours", "box", "f1"),
        store.delete_container("ours", "box"),
        store.add_file("ours", file("f4"), quotas=ROOMY),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert await listed_files(store, Pagination(limit=9, after="f1")) == ([], False)


async def test_deleting_a_file_returns_its_blob_once(store: ContainerStore) -> None:
    """The first deletion returns the blob, the second one finds nothing."""
    await store.add_container(container("box"))
    await add_files(store, "f")
    assert await store.delete_file("ours", "box", "f") == ["blob of f"]
    with pytest.raises(NotFoundError):
        await store.delete_file("ours", "box", "f")
    with pytest.raises(NotFoundError):
        await store.get_file("ours", "box", "f")


async def test_a_path_is_taken_once(store: ContainerStore) -> None:
    """A container has one living file at a path; another container, or deleting the file, leaves it free."""
    await store.add_container(container("box"))
    await store.add_container(container("other"))
    await store.add_file("ours", file("f1", path="/mnt/data/a"), quotas=ROOMY)
    with pytest.raises(InvalidRequestError) as caught:
        await store.add_file("ours", file("f2", path="/mnt/data/a"), quotas=ROOMY)
    assert (caught.value.param, caught.value.code) == ("file_path", "path_already_exists")
    await store.add_file("ours", file("f3", container_id="other", path="/mnt/data/a"), quotas=ROOMY)
    await store.delete_file("ours", "box", "f1")
    await store.add_file("ours", file("f4", path="/mnt/data/a"), quotas=ROOMY)
    assert await listed_files(store, Pagination(limit=9)) == (["f4"], False)


async def test_a_file_gets_other_content(store: ContainerStore, clock: FixedClock) -> None:
    """A file that replaces one has its id, name and time of creation; a path that is free gets a file."""
    await store.add_container(container("box"))
    new = file("f1", path="/mnt/data/a", size=60)
    assert await store.replace_file("ours", new, quotas=Quotas(100, 10**6)) == ([new.file], [])
    clock.now += 10
    other = replace(file("f2", path="/mnt/data/a", size=90), filename="b", content_type="text/csv")
    files, unreferenced = await store.replace_file("ours", other, quotas=Quotas(100, 10**6))
    assert [(one.id, one.bytes, one.created_at) for one in files] == [("f1", 90, NOW)]
    assert unreferenced == ["blob of f1"]
    _, stored = await store.get_file("ours", "box", "f1")
    assert (stored.stored, stored.content_type) == (other.stored, "text/csv")
    assert await listed_files(store, Pagination(limit=9)) == (["f1"], False)
    _, unreferenced = await store.replace_file("ours", other, quotas=Quotas(100, 10**6))
    assert unreferenced == []
    await store.add_file("ours", file("f3", size=10), quotas=Quotas(100, 10**6))


async def test_a_file_that_cannot_be_replaced_is_as_it_was(store: ContainerStore, clock: FixedClock) -> None:
    """Neither content that does not fit, nor another tenant or an expired container changes a file."""
    await store.add_container(container("box"))
    first, other = file("f1", path="/mnt/data/a", size=60), file("f2", path="/mnt/data/a", size=101)
    await store.add_file("ours", first, quotas=Quotas(100, 10**6))
    for quotas, code in ((Quotas(100, 10**6), "container_size_exceeded"), (Quotas(10**6, 100), "tenant_size_exceeded")):
        with pytest.raises(InvalidRequestError) as caught:
            await store.replace_file("ours", other, quotas=quotas)
        assert (caught.value.param, caught.value.code) == ("file", code)
    with pytest.raises(NotFoundError):
        await store.replace_file("theirs", other, quotas=ROOMY)
    assert (await store.get_file("ours", "box", "f1"))[1] == first
    clock.now += 10**6
    with pytest.raises(ContainerExpiredError):
        await store.replace_file("ours", other, quotas=ROOMY)


async def test_a_container_holds_so_much_and_no_more(store: ContainerStore) -> None:
    """Files fit up to exactly 100 bytes of 100, one byte more is refused, and a deletion makes room."""
    await store.add_container(container("box"))
    await store.add_file("ours", file("f1", size=60), quotas=Quotas(100, 10**6))
    with pytest.raises(InvalidRequestError) as caught:
        await store.add_file("ours", file("f2", size=41), quotas=Quotas(100, 10**6))
    assert (caught.value.param, caught.value.code) == ("file", "container_size_exceeded")
    await store.add_file("ours", file("f3", size=40), quotas=Quotas(100, 10**6))
    await store.add_file("ours", file("f4", size=0), quotas=Quotas(100, 10**6))
    await store.delete_file("ours", "box", "f1")
    await store.add_file("ours", file("f5", size=60), quotas=Quotas(100, 10**6))
    assert await listed_files(store, Pagination(limit=9)) == (["f5", "f4", "f3"], False)


async def test_a_hundred_writes_at_once_all_happen(store: ContainerStore) -> None:
    """Of 100 files added at once all are there, each failure is its own caller's, and the limit holds."""
    await store.add_container(container("box"))
    good = [store.add_file("ours", file(f"f{i}", size=1), quotas=ROOMY) for i in range(100)]
    bad = [store.add_file("theirs", file(f"g{i}"), quotas=ROOMY) for i in range(100)]
    mixed = [attempt for pair in zip(good, bad, strict=True) for attempt in pair]
    outcomes = await asyncio.gather(*mixed, return_exceptions=True)
    assert outcomes[::2] == [f"blob of f{i}" for i in range(100)]
    assert {type(outcome) for outcome in outcomes[1::2]} == {NotFoundError}
    ids, has_more = await listed_files(store, Pagination(limit=100, descending=False))
    assert (sorted(ids), has_more) == (sorted(f"f{i}" for i in range(100)), False)
    late = [store.add_file("ours", file(f"h{i}", size=1), quotas=Quotas(150, 10**6)) for i in range(100)]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 50


async def test_one_of_two_at_the_same_path_wins(store: ContainerStore) -> None:
    """Two files added at once at one path: one is there, the other is refused."""
    await store.add_container(container("box"))
    attempts = [store.add_file("ours", file(i, path="/mnt/data/a"), quotas=ROOMY) for i in ("f1", "f2")]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str, InvalidRequestError]


async def test_a_cancelled_write_leaves_the_store_whole(store: ContainerStore) -> None:
    """A write whose caller goes away happens or does not, and later ones work."""
    tasks = [asyncio.ensure_future(store.add_container(container(f"c{i}"))) for i in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await store.add_container(container("box"))
    ids, _ = await listed(store, Pagination(limit=100))
    assert {"box", *(f"c{i}" for i in range(1, 20, 2))} <= set(ids)


async def test_a_providers_container_keeps_what_the_provider_said(store: ContainerStore) -> None:
    """Its key and status come back, and what the provider did not say stays unsaid."""
    running = ContainerStatus.CONTAINER_STATUS_RUNNING
    message = Container(id="theirs", object="container", name="box", created_at=NOW, status=running)
    record = ContainerRecord(message, tenant="ours", provider=OPENAI, key="main")
    await store.add_container(record)
    assert await store.get_container("ours", "theirs") == record
    assert await store.get_provider("ours", "theirs") == OPENAI
    with pytest.raises(NotFoundError):
        await store.get_provider("somebody else", "theirs")


async def test_a_providers_container_is_refreshed(store: ContainerStore) -> None:
    """Status and last activity are taken over, nothing else; for a container that is gone nothing happens."""
    await store.add_container(container("theirs"))
    said = Container(id="theirs", name="other", status=ContainerStatus.CONTAINER_STATUS_EXPIRED, last_active_at=NOW + 9)
    await store.refresh_container("ours", said)
    kept = (await store.get_container("ours", "theirs")).container
    assert (kept.name, kept.status, kept.last_active_at) == ("box", said.status, NOW + 9)
    await store.refresh_container("somebody else", Container(id="theirs", last_active_at=1))
    await store.delete_container("ours", "theirs")
    await store.refresh_container("ours", said)
    assert (await store.list_containers("ours", Pagination(limit=1))).data == []


async def test_an_id_is_taken_once(store: ContainerStore) -> None:
    """A provider that gives the same id twice is told off, whoever has the first; that one stays as it was."""
    await store.add_container(container("theirs", name="first"))
    with pytest.raises(StorageError):
        await store.add_container(container("theirs", tenant="somebody else", name="second"))
    assert (await store.get_container("ours", "theirs")).container.name == "first"


async def test_what_is_used_is_active(store: ContainerStore, clock: FixedClock) -> None:
    """A file that comes or goes, and a touch, make a container active as of now, but none that is expired."""
    await store.add_container(container("box"))

    async def active_at() -> int:
        return (await store.get_container("ours", "box")).container.last_active_at

    clock.now = NOW
    await store.touch_container("ours", "box")
    assert await active_at() == NOW + 5  # it does not go back
    for change in (
        lambda: store.add_file("ours", file("f1"), quotas=ROOMY),
        lambda: store.copy_file("ours", replace(file("f2"), sha256=file("f1").sha256), quotas=ROOMY),
        lambda: store.delete_file("ours", "box", "f1"),
        lambda: store.touch_container("ours", "box"),
    ):
        clock.now = await active_at() + 20 * 60
        await change()
        assert await active_at() == clock.now
    clock.advance(20 * 60 + 1)
    await store.touch_container("ours", "box")
    await store.touch_container("theirs", "box")
    await store.touch_container("ours", "no box")
    for late in (
        store.add_file("ours", file("f3"), quotas=ROOMY),
        store.copy_file("ours", replace(file("f4"), sha256=file("f1").sha256), quotas=ROOMY),
    ):
        with pytest.raises(ContainerExpiredError):
            await late
    assert await active_at() == clock.now - 20 * 60 - 1
    assert await listed_files(store, Pagination(limit=10)) == (["f2"], False)


async def test_secrets_come_back_as_they_were(store: ContainerStore) -> None:
    """The secrets of a container are read in their order by its tenant alone, and as long as it is there."""
    secrets = [DomainSecret(domain="b.example", name="token", value="hush 🔑"), DomainSecret(domain="a.example")]
    await store.add_container(container("box"), domain_secrets=secrets)
    await store.add_container(container("bare"))
    assert await store.get_domain_secrets("ours", "box") == secrets
    assert await store.get_domain_secrets("ours", "bare") == []
    with pytest.raises(NotFoundError):
        await store.get_domain_secrets("theirs", "box")
    await store.delete_container("ours", "box")
    with pytest.raises(NotFoundError):
        await store.get_domain_secrets("ours", "box")


async def test_a_container_with_very_many_files_is_deleted(store: ContainerStore) -> None:
    """Its files cannot be found from the start, their bytes no longer count, and each blob is returned once."""
    names = [f"f{number}" for number in range(1100)]
    quotas = Quotas(container_bytes=2000, tenant_bytes=2000)
    await store.add_container(container("box"))
    for name in names:
        await store.add_file("ours", file(name, size=1), quotas=quotas)
    blobs = [*await store.delete_container("ours", "box")]
    for name in names:
        with pytest.raises(NotFoundError):
            await store.get_file("ours", "box", name)
        with pytest.raises(NotFoundError):
            await store.delete_file("ours", "box", name)
    await store.add_container(container("new"))
    await store.add_file("ours", file("large", container_id="new", size=2000), quotas=quotas)
    while (more := await store.delete_leftovers()) is not None:
        blobs += more
    assert sorted(blobs) == sorted(f"blob of {name}" for name in names)
    assert (await store.get_file("ours", "new", "large"))[1].blob == "blob of large"
