"""What a ContainerStore knows of bytes: who holds them, and how many a container and a tenant may have."""

from dataclasses import replace

import pytest

from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.ports.blob_store import BlobState
from berth.core.ports.container_store import ContainerFileRecord, ContainerStore, Quotas
from berth.core.ports.pages import Pagination
from support.fakes.records import ROOMY, container, file


async def test_a_tenant_has_a_quota(store: ContainerStore) -> None:
    """What is in all containers of a tenant counts, what was deleted no longer, and another tenant's never."""
    quotas = Quotas(container_bytes=1000, tenant_bytes=100)
    for name in ("box", "other"):
        await store.add_container(container(name))
    await store.add_container(container("foreign", tenant="theirs"))
    await store.add_file("theirs", file("t", container_id="foreign", size=90), quotas=quotas)
    await store.add_file("ours", file("f1", size=60), quotas=quotas)
    with pytest.raises(InvalidRequestError, match="more than 100 bytes") as caught:
        await store.add_file("ours", file("f2", container_id="other", size=41), quotas=quotas)
    assert (caught.value.param, caught.value.code) == ("file", "tenant_size_exceeded")
    await store.delete_container("ours", "box")
    await store.add_file("ours", file("f3", container_id="other", size=100), quotas=quotas)
    await store.delete_file("ours", "other", "f3")
    await store.add_file("ours", file("f4", container_id="other", size=100), quotas=quotas)


async def test_the_same_content_is_held_once(store: ContainerStore) -> None:
    """A second file of the same content refers to the first one's blob, which goes with the last of them."""
    for name in ("box", "other"):
        await store.add_container(container(name))
    first, second = file("f1"), replace(file("f2", container_id="other"), sha256=file("f1").sha256)
    assert await store.add_file("ours", first, quotas=ROOMY) == first.blob
    assert await store.add_file("ours", second, quotas=ROOMY) == first.blob
    assert await store.find_blob(first.sha256, first.file.bytes) == first.blob
    assert await store.find_blob(first.sha256, first.file.bytes + 1) is None
    assert (await store.get_file("ours", "other", "f2"))[1].blob == first.blob
    assert await store.delete_file("ours", "box", "f1") == []
    assert await store.delete_container("ours", "other") == [first.blob]
    assert await store.find_blob(first.sha256, first.file.bytes) is None


async def test_a_copy_holds_the_blob_of_its_origin(store: ContainerStore) -> None:
    """A copy keeps the bytes from going with their origin, and none can be made of bytes that are gone."""
    await store.add_container(container("box"))
    origin = file("f1")
    await store.add_file("ours", origin, quotas=ROOMY)
    copy = replace(file("f2"), sha256=origin.sha256, blob=origin.blob)
    await store.copy_file("ours", copy, quotas=ROOMY)
    assert await store.delete_file("ours", "box", "f1") == []
    assert await store.delete_file("ours", "box", "f2") == [origin.blob]
    with pytest.raises(NotFoundError):
        await store.copy_file("ours", copy, quotas=ROOMY)
    with pytest.raises(NotFoundError):
        await store.add_container(container("new"), copies=[replace(copy, file=file("f3", container_id="new").file)])
    with pytest.raises(NotFoundError):
        await store.get_container("ours", "new")


async def test_damaged_bytes_are_replaced(store: ContainerStore) -> None:
    """A new file of a content that was found damaged brings its own blob, for every file that has the content."""
    await store.add_container(container("box"))
    first, third = file("f1"), replace(file("f3"), sha256=file("f1").sha256)
    await store.add_file("ours", first, quotas=ROOMY)
    await store.copy_file("ours", replace(file("f2"), sha256=first.sha256, blob=first.blob), quotas=ROOMY)
    assert [await store.note_damage(first.blob) for _ in range(2)] == [1, 2]
    assert await store.add_file("ours", third, quotas=ROOMY) == third.blob
    for file_id in ("f1", "f2", "f3"):
        assert (await store.get_file("ours", "box", file_id))[1].blob == third.blob
    fourth = replace(file("f4"), sha256=first.sha256)
    assert await store.add_file("ours", fourth, quotas=ROOMY) == third.blob
    await store.copy_file("ours", replace(file("f5"), sha256=first.sha256, blob=first.blob), quotas=ROOMY)
    assert (await store.get_file("ours", "box", "f5"))[1].blob == third.blob
    assert await store.note_damage(first.blob) == 0
    assert await store.delete_container("ours", "box") == [third.blob]
    assert await store.note_damage(third.blob) == 0


async def test_a_blob_has_a_state(store: ContainerStore) -> None:
    """The state of a blob has its checksums, from the first upload that had them, and says if damage was noted."""
    await store.add_container(container("box"))
    origin = file("f1")
    names = [replace(file(name), sha256=origin.sha256) for name in ("f1", "f2", "f3", "f4")]
    first, second, third, fourth = (
        replace(each, block_sums=sums) for each, sums in zip(names, [None, b"sum1", b"sum2", b"sum3"], strict=True)
    )
    assert await store.blob_state(first.blob) is None
    await store.add_file("ours", first, quotas=ROOMY)
    assert await store.blob_state(first.blob) == BlobState(is_damaged=False, block_sums=None)
    for later in (second, third):
        await store.add_file("ours", later, quotas=ROOMY)
        assert await store.blob_state(first.blob) == BlobState(is_damaged=False, block_sums=b"sum1")
    await store.note_damage(first.blob)
    assert await store.blob_state(first.blob) == BlobState(is_damaged=True, block_sums=b"sum1")
    await store.add_file("ours", fourth, quotas=ROOMY)
    assert await store.blob_state(first.blob) is None
    state = await store.blob_state(fourth.blob)
    assert state is not None
    assert not state.is_damaged


async def test_a_container_is_made_with_copies(store: ContainerStore) -> None:
    """A container has its copies from its first moment on, and is not there at all if they are too many bytes."""
    await store.add_container(container("box"))
    origin = file("f1", size=60)
    await store.add_file("ours", origin, quotas=ROOMY)

    def copies(container_id: str) -> list[ContainerFileRecord]:
        names = [f"{container_id}-{i}" for i in range(2)]
        made = [file(name, container_id=container_id, size=60).file for name in names]
        return [replace(origin, file=one) for one in made]

    for quotas, code in ((Quotas(100, 1000), "container"), (Quotas(1000, 150), "tenant")):
        with pytest.raises(InvalidRequestError) as caught:
            await store.add_container(container("no"), copies=copies("no"), quotas=quotas)
        assert caught.value.code == f"{code}_size_exceeded"
        with pytest.raises(NotFoundError):
            await store.get_container("ours", "no")
    await store.add_container(container("yes"), copies=copies("yes"))
    assert len((await store.list_files("ours", "yes", Pagination(10))).data) == 2
    assert await store.delete_container("ours", "yes") == []
    assert await store.delete_file("ours", "box", "f1") == [origin.blob]
