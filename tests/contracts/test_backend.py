"""The contract of Backend, run against every implementation: the operations, and the life of a container."""

from hashlib import sha256

import pytest

from berth.core.errors import ContainerExpiredError, InvalidRequestError, NotFoundError
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from support.fakes.subjects import EXPIRY, GROQ, NONE, OLLAMA, OPERATIONS, OURS, READS, WRITES, Subject, plain, refused
from support.fakes.uploads import GivenUpload, put_file


async def test_a_container_comes_back_as_it_was_made(subject: Subject) -> None:
    """What create answers is what retrieve answers, and it says whose it is."""
    request = CreateContainerRequest(
        name="港 box", provider=OLLAMA, expires_after=EXPIRY, memory_limit="4g", metadata={"team": "a"}
    )
    made = await subject.backend.create_container(OURS, request)
    assert made.extra_fields.provider == OLLAMA
    assert made.status == ContainerStatus.CONTAINER_STATUS_RUNNING
    assert (made.object, made.name, made.memory_limit, dict(made.metadata)) == (
        "container",
        "港 box",
        "4g",
        {"team": "a"},
    )
    assert made.created_at == made.last_active_at == subject.clock.now
    retrieved = await subject.backend.retrieve_container(OURS, RetrieveContainerRequest(container_id=made.id))
    assert plain(retrieved) == plain(made)


async def test_a_page_holds_the_newest_first(subject: Subject) -> None:
    """Pages follow each other by creation; items carry no extra_fields, the list of one provider does."""
    ids = [await subject.container(f"{number}") for number in range(3)]
    first = await subject.backend.list_containers(OURS, ListContainersRequest(limit=2, provider=OLLAMA))
    assert [container.id for container in first.data] == [ids[2], ids[1]]
    assert (first.object, first.first_id, first.last_id, first.has_more) == ("list", ids[2], ids[1], True)
    assert first.extra_fields.provider == OLLAMA
    assert not any(container.HasField("extra_fields") for container in first.data)
    rest = await subject.backend.list_containers(OURS, ListContainersRequest(limit=2, after=first.last_id))
    assert ([container.id for container in rest.data], rest.has_more) == ([ids[0]], False)
    assert not rest.extra_fields.HasField("provider")


async def test_a_list_is_filtered(subject: Subject) -> None:
    """By provider, by exact name, or not at all; an empty page has empty ids."""
    await subject.container("a", provider=GROQ)
    await subject.container("b")
    assert await subject.listed() == ["b", "a"]
    assert await subject.listed(provider=GROQ) == ["a"]
    assert await subject.listed(name="b") == ["b"]
    empty = await subject.backend.list_containers(OURS, ListContainersRequest(name="B"))
    assert (empty.first_id, empty.last_id, empty.has_more) == ("", "", False)


async def test_a_file_comes_back_as_it_was_put(subject: Subject) -> None:
    """Name, type, size, digest and bytes of a file are those that were sent."""
    container_id = await subject.container()
    made = await subject.backend.create_container_file(OURS, GivenUpload(container_id))
    assert (made.object, made.container_id, made.bytes, made.source) == ("container.file", container_id, 5, "user")
    assert made.path.endswith("-a.txt")
    assert made.extra_fields.provider == OLLAMA
    request = RetrieveContainerFileRequest(container_id=container_id, file_id=made.id)
    assert plain(await subject.backend.retrieve_container_file(OURS, request)) == plain(made)
    content = await subject.content(container_id, made.id)
    assert (content.provider, content.filename, content.content_type, content.length, content.sha256) == (
        OLLAMA,
        "a.txt",
        "text/plain",
        5,
        sha256(b"hello").hexdigest(),
    )
    assert b"".join([chunk async for chunk in content.chunks]) == b"hello"


async def test_the_files_of_a_container_are_listed(subject: Subject) -> None:
    """A page of files has the form of every list, and the provider of the container."""
    container_id = await subject.container()
    files = [await put_file(subject.backend, OURS, container_id) for _ in range(3)]
    request = ListContainerFilesRequest(container_id=container_id, limit=2, order="asc")
    page = await subject.backend.list_container_files(OURS, request)
    assert [file.id for file in page.data] == [files[0].id, files[1].id]
    assert (page.object, page.first_id, page.last_id, page.has_more) == ("list", files[0].id, files[1].id, True)
    assert page.extra_fields.provider == OLLAMA
    assert not any(file.HasField("extra_fields") for file in page.data)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (None, None, b"hello"),
        (0, 5, b"hello"),
        (1, None, b"ello"),
        (1, 3, b"ell"),
        (4, 100, b"o"),
        (5, None, b""),
        (5, 1, b""),
        (0, 0, b""),
        (2, 0, b""),
        (0, 2**63 - 1, b"hello"),
    ],
)
async def test_a_range_is_read(subject: Subject, offset: int | None, length: int | None, expected: bytes) -> None:
    """A range goes from its offset over at most its length, and its end may be the file's."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    content = await subject.content(container_id, file.id, offset=offset, length=length)
    assert content.length == len(expected)
    assert b"".join([chunk async for chunk in content.chunks]) == expected


@pytest.mark.parametrize(
    ("offset", "length", "param", "code"),
    [
        (6, None, "offset", "integer_above_max_value"),
        (2**63 - 1, None, "offset", "integer_above_max_value"),
        (-1, None, "offset", "integer_below_min_value"),
        (0, -1, "length", "integer_below_min_value"),
    ],
)
async def test_a_range_outside_the_file_is_refused(
    subject: Subject, offset: int, length: int | None, param: str, code: str
) -> None:
    """Past the end, before the beginning, or backwards there are no bytes."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    error = await refused(subject.content(container_id, file.id, offset=offset, length=length))
    assert (type(error), error.param, error.code) == (InvalidRequestError, param, code)


async def test_what_is_deleted_is_gone(subject: Subject) -> None:
    """A deletion names what it deleted, and does not happen twice."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    request = DeleteContainerFileRequest(container_id=container_id, file_id=file.id)
    deleted = await subject.backend.delete_container_file(OURS, request)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "container.file.deleted", True)
    assert deleted.extra_fields.provider == OLLAMA
    assert type(await refused(subject.backend.delete_container_file(OURS, request))) is NotFoundError
    whole = DeleteContainerRequest(container_id=container_id)
    gone = await subject.backend.delete_container(OURS, whole)
    assert (gone.id, gone.object, gone.deleted) == (container_id, "container.deleted", True)
    assert gone.extra_fields.provider == OLLAMA
    assert type(await refused(subject.backend.delete_container(OURS, whole))) is NotFoundError


@pytest.mark.parametrize("name", [*READS, *WRITES])
async def test_the_files_of_an_expired_container_are_gone(subject: Subject, name: str) -> None:
    """A second after its last minute a container's files answer NOT_FOUND, and changes that it is expired."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    subject.clock.advance(61)
    error = await refused(OPERATIONS[name](subject.backend, OURS, container_id, file.id, NONE))
    assert type(error) is (ContainerExpiredError if name in WRITES else NotFoundError)
    if name in WRITES:
        assert (error.message, error.code) == ("Container is expired.", None)


async def test_an_expired_container_still_shows(subject: Subject) -> None:
    """It is retrieved and listed as expired, and it can be deleted; nothing revives it."""
    container_id = await subject.container()
    subject.clock.advance(60)
    assert (await _status(subject, container_id)) == ContainerStatus.CONTAINER_STATUS_RUNNING
    subject.clock.advance(61)
    for _ in range(2):
        assert (await _status(subject, container_id)) == ContainerStatus.CONTAINER_STATUS_EXPIRED
    page = await subject.backend.list_containers(OURS, ListContainersRequest())
    assert [container.status for container in page.data] == [ContainerStatus.CONTAINER_STATUS_EXPIRED]
    assert (await subject.backend.delete_container(OURS, DeleteContainerRequest(container_id=container_id))).deleted


@pytest.mark.parametrize("subject", ["memory", "sqlite and a folder", "idempotent", "passed through"], indirect=True)
@pytest.mark.parametrize("name", [*READS, "create_container_file", "retrieve_container"])
async def test_use_keeps_a_container_alive(subject: Subject, name: str) -> None:
    """A container that is used every minute does not expire, however it is used; a cache would answer by itself."""
    container_id = await subject.container()
    file = await put_file(subject.backend, OURS, container_id)
    for _ in range(3):
        subject.clock.advance(60)
        await OPERATIONS[name](subject.backend, OURS, container_id, file.id, NONE)
    subject.clock.advance(60)
    assert (await _status(subject, container_id)) == ContainerStatus.CONTAINER_STATUS_RUNNING


async def _status(subject: Subject, container_id: str) -> ContainerStatus:
    request = RetrieveContainerRequest(container_id=container_id)
    container: Container = await subject.backend.retrieve_container(OURS, request)
    return container.status
