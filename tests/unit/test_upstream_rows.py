"""How the rows of passed-through containers keep up with what a provider says."""

from collections.abc import AsyncIterator

import pytest

from berth.core.errors import NotFoundError, StorageError
from berth.core.ports.container_store import ID_TAKEN
from berth.v1.container_file_service_pb2 import ListContainerFilesRequest, RetrieveContainerFileRequest
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, CONTAINER_STATUS_RUNNING
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import MemoryStore
from support.fakes.subjects import OURS, refused
from support.providers.scripted import CONTAINER, FILE, MAIN, Provided, answer, passing, refuse
from support.servers.passthrough import Passthrough

OPENAI = Provider.PROVIDER_OPENAI
NEW = CreateContainerRequest(provider=OPENAI, name="box")
BOX = RetrieveContainerRequest(container_id="cntr_1")


@pytest.fixture
async def passed(provider: Provided) -> AsyncIterator[Passthrough]:
    """Open a backend that has made the container cntr_1."""
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(OURS, NEW)
        provider.asked.clear()
        yield passed


async def test_the_row_follows_the_answers(provider: Provided, passed: Passthrough) -> None:
    """What a list says is what the provider said last, and what the clock has made of it since."""
    provider.answers(answer(CONTAINER | {"last_active_at": 1_700_000_060}))
    await passed.backend.retrieve_container(OURS, BOX)
    passed.clock.advance(60 + 20 * 60)
    (container,) = (await passed.backend.list_containers(OURS, ListContainersRequest())).data
    assert (container.last_active_at, container.status) == (1_700_000_060, CONTAINER_STATUS_RUNNING)
    passed.clock.advance(1)
    (container,) = (await passed.backend.list_containers(OURS, ListContainersRequest())).data
    assert container.status == CONTAINER_STATUS_EXPIRED


async def test_using_a_file_uses_its_container(provider: Provided, passed: Passthrough) -> None:
    """An answer about a file, a minute later, moves the container's last activity."""
    provider.answers(answer(FILE))
    passed.clock.advance(60)
    request = RetrieveContainerFileRequest(container_id="cntr_1", file_id="cfile_1")
    file = await passed.backend.retrieve_container_file(OURS, request)
    assert (file.path, file.bytes, file.source) == ("/mnt/data/a.txt", 5, "user")
    assert (await passed.store.get_container("ours", "cntr_1")).container.last_active_at == 1_700_000_060


async def test_files_are_listed_by_the_provider(provider: Provided, passed: Passthrough) -> None:
    """A page of files is asked for as the caller wants it, and comes back whole."""
    provider.answers(answer({"object": "list", "data": [FILE], "has_more": True, "first_id": None}))
    request = ListContainerFilesRequest(container_id="cntr_1", limit=5, after="a&b", order="asc")
    page = await passed.backend.list_container_files(OURS, request)
    assert provider.asked[0].target == "/v1/containers/cntr_1/files?limit=5&after=a%26b&order=asc"
    assert (page.first_id, page.last_id, page.has_more, len(page.data)) == ("cfile_1", "cfile_1", True, 1)


async def test_a_deleted_container_is_gone_here_too(provider: Provided, passed: Passthrough) -> None:
    """A delete removes the row, whether or not the answer has a body."""
    provider.answers(answer(b"", status=204))
    response = await passed.backend.delete_container(OURS, DeleteContainerRequest(container_id="cntr_1"))
    assert response.deleted
    assert isinstance(await refused(passed.backend.retrieve_container(OURS, BOX)), NotFoundError)
    assert len(provider.asked) == 1


async def test_a_container_that_is_gone_there_is_gone_here(provider: Provided, passed: Passthrough) -> None:
    """A delete that finds nothing is a 404, and the row goes all the same."""
    provider.answers(refuse(404))
    for _ in range(2):
        error = await refused(passed.backend.delete_container(OURS, DeleteContainerRequest(container_id="cntr_1")))
        assert isinstance(error, NotFoundError)
    assert len(provider.asked) == 1


async def test_a_404_of_something_else_deletes_no_row(provider: Provided, passed: Passthrough) -> None:
    """One without an error of the API, as of a proxy with a wrong configuration, says nothing of the container."""
    provider.answers(*[answer(b"not found", status=404)] * 3)
    requests = (
        passed.backend.retrieve_container(OURS, BOX),
        passed.backend.list_container_files(OURS, ListContainerFilesRequest(container_id="cntr_1")),
        passed.backend.delete_container(OURS, DeleteContainerRequest(container_id="cntr_1")),
    )
    for request in requests:
        assert isinstance(await refused(request), NotFoundError)
    assert await passed.store.get_provider("ours", "cntr_1") == OPENAI


async def test_a_repeated_delete_that_finds_nothing_has_deleted(provider: Provided, passed: Passthrough) -> None:
    """Where the first attempt failed on the way back, the 404 to the second is success."""
    provider.answers(refuse(502), refuse(404))
    response = await passed.backend.delete_container(OURS, DeleteContainerRequest(container_id="cntr_1"))
    assert response.deleted


async def test_a_delete_that_does_not_delete_is_an_error(provider: Provided, passed: Passthrough) -> None:
    """An answer that says deleted: false keeps the row."""
    provider.answers(answer({"id": "cntr_1", "deleted": False}))
    error = await refused(passed.backend.delete_container(OURS, DeleteContainerRequest(container_id="cntr_1")))
    assert error.code == "provider_server_error"
    assert await passed.store.get_provider("ours", "cntr_1") == OPENAI


class FailingStore(MemoryStore):
    """A store that cannot add."""

    code: str | None = None

    async def add_container(self, *_: object, **__: object) -> None:
        raise StorageError("The disk is full.", code=self.code)


@pytest.mark.parametrize(("code", "methods"), [(None, ["POST", "DELETE"]), (ID_TAKEN, ["POST"])])
async def test_a_container_without_a_row_is_deleted_again(
    provider: Provided, code: str | None, methods: list[str]
) -> None:
    """What cannot be written down here does not stay there, unless its id is somebody's already."""
    store = FailingStore()
    store.code = code
    async with passing(provider.port, MAIN, store=store) as passed:
        assert isinstance(await refused(passed.backend.create_container(OURS, NEW)), StorageError)
    assert [asked.method for asked in provider.asked] == methods
