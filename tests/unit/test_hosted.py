"""HostedBackend where its stores fail, or its callers go away: what stays behind, and what does not."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from berth.core.caller import Caller
from berth.core.errors import InvalidRequestError, NotFoundError, StorageError
from berth.core.hosted.containers import HostedBackend
from berth.core.ports.container_store import UNLIMITED, ContainerFileRecord, ContainerRecord, Quotas
from berth.core.ports.pages import Page, Pagination
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
)
from berth.v1.container_pb2 import NetworkPolicyType
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    DomainSecret,
    NetworkPolicyParam,
    RetrieveContainerRequest,
)
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider
from support.fakes.blobs import MemoryBlobs
from support.fakes.stores import FixedClock, MemoryStore
from support.fakes.uploads import GivenUpload, put_file
from support.servers.hosted import LIMITS, hosted
from support.servers.service import eventually

OURS = Caller("ours", "first")


class SlowStore(MemoryStore):
    """A store whose writes wait for `go`, and fail if `broken`; `writing` is set while one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.writing, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.broken = False

    async def _wait(self) -> None:
        self.writing.set()
        await self.go.wait()
        if self.broken:
            raise StorageError("The store failed.")

    async def add_container(
        self,
        record: ContainerRecord,
        *,
        domain_secrets: Sequence[DomainSecret] = (),
        copies: Sequence[ContainerFileRecord] = (),
        quotas: Quotas = UNLIMITED,
        is_own: bool = False,
    ) -> None:
        await self._wait()
        await super().add_container(record, domain_secrets=domain_secrets, copies=copies, quotas=quotas, is_own=is_own)

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        await self._wait()
        return await super().add_file(tenant, record, quotas=quotas)

    async def delete_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> Sequence[str]:
        await self._wait()
        return await super().delete_container(tenant, container_id, provider)

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        await self._wait()
        return await super().delete_file(tenant, container_id, file_id)


class BrokenBlobs(MemoryBlobs):
    """A blob store that fails to store and to delete while `broken`, and only to delete while it `keeps`."""

    broken = False
    keeps = False

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        if self.broken:
            raise StorageError("The blob store failed.")
        await super().put(key, chunks)

    async def delete(self, keys: Iterable[str]) -> None:
        if self.broken or self.keeps:
            raise StorageError("The blob store failed.")
        await super().delete(keys)


class World:
    """A backend with a container in it, and its stores."""

    def __init__(self) -> None:
        self.store, self.blobs = SlowStore(), BrokenBlobs()
        self.backend: HostedBackend = hosted(self.store, self.blobs, clock=FixedClock())
        self.container_id = ""

    async def files(self) -> int:
        request = ListContainerFilesRequest(container_id=self.container_id)
        return len((await self.backend.list_container_files(OURS, request)).data)


@pytest.fixture
async def world() -> World:
    world = World()
    request = CreateContainerRequest(name="box", provider=Provider.PROVIDER_OLLAMA)
    world.container_id = (await world.backend.create_container(OURS, request)).id
    world.store.writing.clear()
    return world


async def test_a_row_that_cannot_be_written_leaves_no_blob(world: World) -> None:
    """The blob goes first, so it is removed again when the row fails."""
    world.store.broken = True
    with pytest.raises(StorageError):
        await put_file(world.backend, OURS, world.container_id)
    assert world.blobs.blobs == {}


async def test_a_blob_that_cannot_be_written_leaves_no_row(world: World) -> None:
    """Without its bytes a file does not exist."""
    world.blobs.broken = True
    with pytest.raises(StorageError):
        await put_file(world.backend, OURS, world.container_id)
    assert await world.files() == 0


@pytest.mark.parametrize(
    ("content", "file_path", "code"),
    [
        ((b"x" * 60_000, b"x" * 40_001), None, "file_too_large"),
        ((b"hello",), "../a", "invalid_value"),
        ((b"hello",), "taken", "path_already_exists"),
    ],
)
async def test_a_refused_upload_leaves_nothing(
    world: World, content: tuple[bytes, ...], file_path: str | None, code: str
) -> None:
    """Too large, a bad path, a path that is taken: neither row nor blob stays."""
    await put_file(world.backend, OURS, world.container_id, file_path="taken")
    with pytest.raises(InvalidRequestError) as caught:
        await world.backend.create_container_file(OURS, GivenUpload(world.container_id, content, file_path=file_path))
    assert caught.value.code == code
    assert (await world.files(), len(world.blobs.blobs)) == (1, 1)


async def test_a_bad_path_costs_no_upload(world: World) -> None:
    """A path that is known from the start is refused before the first byte is read."""
    upload = GivenUpload(world.container_id, file_path="../a", then=lambda: pytest.fail("it was read"))
    with pytest.raises(InvalidRequestError):
        await world.backend.create_container_file(OURS, upload)


@pytest.mark.parametrize(("late", "path"), [("b/a.txt", "/mnt/data/b/a.txt"), ("../a", None)])
async def test_a_path_may_become_known_behind_the_bytes(world: World, late: str, path: str | None) -> None:
    """A path that follows the file is taken; if it cannot be, the blob is removed."""
    upload = GivenUpload(world.container_id)
    upload.then = lambda: setattr(upload, "file_path", late)
    if path is None:
        with pytest.raises(InvalidRequestError):
            await world.backend.create_container_file(OURS, upload)
        assert world.blobs.blobs == {}
        return
    assert (await world.backend.create_container_file(OURS, upload)).path == path


async def test_limits_are_reached_to_the_byte(world: World) -> None:
    """100 000 bytes of a file and 250 000 of a container are allowed, and not one more."""
    for index, size in enumerate((100_000, 100_000, 50_000)):
        await put_file(world.backend, OURS, world.container_id, content=bytes([index]) * size)
    with pytest.raises(InvalidRequestError) as caught:
        await put_file(world.backend, OURS, world.container_id, content=b"x")
    assert (caught.value.param, caught.value.code) == ("file", "container_size_exceeded")
    assert len(world.blobs.blobs) == 3
    assert LIMITS.max_file_bytes == 100_000


async def test_a_file_is_replaced_or_stays(world: World) -> None:
    """An upload that replaces leaves the bytes of before or those of after, in one blob, and never neither."""
    sizes = [90_000, 90_001, 60_000]
    uploads = [GivenUpload(world.container_id, (b"x" * size,), file_path="a", replaces=True) for size in sizes]
    files = [await world.backend.create_container_file(OURS, upload) for upload in uploads]
    assert [(file.id, file.bytes) for file in files] == [(files[0].id, size) for size in sizes]
    assert [len(blob) for blob in world.blobs.blobs.values()] == [60_000]
    await put_file(world.backend, OURS, world.container_id, content=bytes(99_000))
    await put_file(world.backend, OURS, world.container_id, content=bytes(70_000))
    for size, code in ((100_001, "file_too_large"), (100_000, "container_size_exceeded")):
        upload = GivenUpload(world.container_id, (b"y" * size,), file_path="a", replaces=True)
        with pytest.raises(InvalidRequestError) as caught:
            await world.backend.create_container_file(OURS, upload)
        assert caught.value.code == code
    assert sorted(len(blob) for blob in world.blobs.blobs.values()) == [60_000, 70_000, 99_000]


async def test_a_container_that_goes_away_during_an_upload_gets_no_file(world: World) -> None:
    """Who deletes the container meanwhile wins, and the blob is removed."""
    world.store.go.clear()
    upload = asyncio.create_task(put_file(world.backend, OURS, world.container_id))
    await world.store.writing.wait()
    await MemoryStore.delete_container(world.store, "ours", world.container_id)
    world.store.go.set()
    with pytest.raises(NotFoundError):
        await upload
    assert world.blobs.blobs == {}


async def test_a_file_to_copy_is_unknown(world: World) -> None:
    """There are no files to copy from yet: an id names none, and the parameter is told."""
    with pytest.raises(InvalidRequestError) as caught:
        await world.backend.create_container_file(OURS, GivenUpload(world.container_id, file_id="file-1"))
    assert (caught.value.param, caught.value.code) == ("file_id", "invalid_value")


async def test_a_file_has_defaults_for_name_and_type(world: World) -> None:
    """A nameless file is called "file", and its type is that of any bytes."""
    upload = GivenUpload(world.container_id, filename=None, content_type=None)
    file = await world.backend.create_container_file(OURS, upload)
    request = RetrieveContainerFileContentRequest(container_id=world.container_id, file_id=file.id)
    content = await world.backend.retrieve_container_file_content(OURS, request)
    assert (content.filename, content.content_type) == ("file", "application/octet-stream")
    assert file.path == f"/mnt/data/{'0' * 31}1-file"


async def test_a_write_that_began_ends_although_the_caller_left(world: World) -> None:
    """A row that is being written when the caller goes away is written whole, with its blob."""
    world.store.go.clear()
    upload = asyncio.create_task(put_file(world.backend, OURS, world.container_id))
    await world.store.writing.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    world.store.go.set()
    async with asyncio.timeout(30):
        while await world.files() == 0:  # noqa: ASYNC110 - the fake store has no event for it
            await asyncio.sleep(0)
    assert len(world.blobs.blobs) == 1


async def test_a_clean_up_that_began_ends_although_the_caller_left(world: World) -> None:
    """A row that fails after the caller has gone away still leaves no blob."""
    world.store.go.clear()
    world.store.broken = True
    upload = asyncio.create_task(put_file(world.backend, OURS, world.container_id))
    await world.store.writing.wait()
    upload.cancel()
    world.store.go.set()
    await eventually(lambda: world.blobs.blobs == {})


@pytest.mark.parametrize("whole", [True, False])
async def test_a_deletion_that_began_ends_although_the_caller_left(world: World, *, whole: bool) -> None:
    """The blobs of what is deleted go with it, also when nobody waits any more."""
    file = await put_file(world.backend, OURS, world.container_id)
    world.store.writing.clear()
    world.store.go.clear()
    deletion = asyncio.create_task(
        world.backend.delete_container(OURS, DeleteContainerRequest(container_id=world.container_id))
        if whole
        else world.backend.delete_container_file(
            OURS, DeleteContainerFileRequest(container_id=world.container_id, file_id=file.id)
        )
    )
    await world.store.writing.wait()
    deletion.cancel()
    assert len(world.blobs.blobs) == 1
    world.store.go.set()
    await eventually(lambda: world.blobs.blobs == {})


async def test_a_row_is_gone_even_if_its_blob_cannot_be_removed(world: World) -> None:
    """The row goes first: what stays is a blob that nobody sees, never a row without bytes."""
    file = await put_file(world.backend, OURS, world.container_id)
    world.blobs.broken = True
    request = DeleteContainerFileRequest(container_id=world.container_id, file_id=file.id)
    assert (await world.backend.delete_container_file(OURS, request)).deleted
    assert (await world.files(), len(world.blobs.blobs)) == (0, 1)


async def test_an_upload_of_known_content_succeeds_even_if_its_blob_cannot_be_removed(world: World) -> None:
    """The row refers to the blob that exists already, so the second one is left to the sweeper."""
    await put_file(world.backend, OURS, world.container_id)
    world.blobs.keeps = True
    await put_file(world.backend, OURS, world.container_id)
    assert (await world.files(), len(world.blobs.blobs)) == (2, 2)


async def test_secrets_are_kept_apart(world: World) -> None:
    """The secrets of a network policy reach the store and no answer."""
    secret = DomainSecret(domain="a.example", name="TOKEN", value="s3cret")
    policy = NetworkPolicyParam(
        type=NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST, allowed_domains=["a.example"], domain_secrets=[secret]
    )
    request = CreateContainerRequest(name="box", provider=Provider.PROVIDER_OLLAMA, network_policy=policy)
    made = await world.backend.create_container(OURS, request)
    again = await world.backend.retrieve_container(OURS, RetrieveContainerRequest(container_id=made.id))
    assert world.store.domain_secrets[made.id] == [secret]
    assert b"s3cret" not in made.SerializeToString() + again.SerializeToString()


class ManyFiles(MemoryStore):
    """A store with some files left over; `most` is how many callers deleted of them at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.running, self.most = 20, 0, 0

    async def delete_leftovers(self) -> Sequence[str] | None:
        if not self.left:
            return None
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.left -= 1
        self.running -= 1
        return []


async def test_files_of_many_containers_are_deleted_one_step_at_a_time() -> None:
    """However many large containers are deleted at the same time, one task deletes the files that are left of them."""
    store = ManyFiles()
    backend = hosted(store, MemoryBlobs(), clock=FixedClock())
    request = CreateContainerRequest(name="box", provider=Provider.PROVIDER_OLLAMA)
    boxes = [(await backend.create_container(OURS, request)).id for _ in range(5)]
    await asyncio.gather(
        *(backend.delete_container(OURS, DeleteContainerRequest(container_id=container_id)) for container_id in boxes)
    )
    await eventually(lambda: not store.left)
    assert store.most == 1


class HastyStore(MemoryStore):
    """A store in which another process deletes a container just before its files are listed."""

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        await self.delete_container(tenant, container_id)
        return await super().list_files(tenant, container_id, pagination)


async def test_a_container_that_goes_while_it_is_listed_is_not_empty() -> None:
    """Its files were there until it was deleted, so the answer is that there is no such container."""
    store = HastyStore()
    backend = hosted(store, MemoryBlobs(), clock=FixedClock())
    container = await backend.create_container(
        OURS, CreateContainerRequest(name="box", provider=Provider.PROVIDER_OLLAMA)
    )
    with pytest.raises(NotFoundError):
        await backend.list_container_files(OURS, ListContainerFilesRequest(container_id=container.id))
