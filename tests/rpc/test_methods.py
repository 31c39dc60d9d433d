"""The nine methods, through a socket: what is answered, what stands beside it, and what is logged."""

from hashlib import sha256

import pytest
from google.api.httpbody_pb2 import HttpBody

from berth.core.observation.trace_context import trace_id_of
from berth.v1.container_file_service_pb2 import (
    CreateContainerFileRequest,
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from support.clients.http2 import raw_call
from support.servers.hosted import Kept, Left
from support.servers.service import GROQ, OLLAMA, OURS, Served, refused


async def make(served: Served) -> Container:
    return await served.containers.CreateContainer(CreateContainerRequest(name="box", provider=OLLAMA), metadata=OURS)


async def test_a_container_lives_and_dies(served: Served, kept: Kept) -> None:
    """Created, retrieved, listed and deleted: each answer says which operation it is of."""
    made = await make(served)
    assert made.extra_fields.request_type == "container_create"
    retrieved = await served.containers.RetrieveContainer(RetrieveContainerRequest(container_id=made.id), metadata=OURS)
    assert retrieved.name == "box"
    assert (retrieved.extra_fields.request_type, retrieved.extra_fields.provider) == ("container_retrieve", OLLAMA)
    page = await served.containers.ListContainers(ListContainersRequest(), metadata=OURS)
    assert [container.id for container in page.data] == [made.id]
    assert page.extra_fields.request_type == "container_list"
    gone = await served.containers.DeleteContainer(DeleteContainerRequest(container_id=made.id), metadata=OURS)
    assert (gone.id, gone.deleted, gone.extra_fields.request_type) == (made.id, True, "container_delete")
    assert kept.left() == Left()


async def test_a_file_lives_and_dies(served: Served, kept: Kept) -> None:
    """Uploaded in pieces, retrieved, listed, downloaded and deleted, it leaves no byte behind."""
    home = await make(served)
    data = bytes(range(256)) * 300
    call = served.files.CreateContainerFile(metadata=OURS)
    await call.write(CreateContainerFileRequest(container_id=home.id, filename="名.bin", content_type="a/b"))
    for start in range(0, len(data), 10_000):
        await call.write(CreateContainerFileRequest(body=HttpBody(data=data[start : start + 10_000])))
    await call.done_writing()
    file = await call
    assert (file.bytes, file.extra_fields.request_type) == (len(data), "container_file_create")
    one = RetrieveContainerFileRequest(container_id=home.id, file_id=file.id)
    assert (await served.files.RetrieveContainerFile(one, metadata=OURS)).path == file.path
    page = await served.files.ListContainerFiles(ListContainerFilesRequest(container_id=home.id), metadata=OURS)
    assert ([item.id for item in page.data], page.has_more) == ([file.id], False)
    await _download(served, home.id, file.id, data)
    deletion = DeleteContainerFileRequest(container_id=home.id, file_id=file.id)
    assert (await served.files.DeleteContainerFile(deletion, metadata=OURS)).deleted
    assert kept.left() == Left(containers=1)


async def _download(served: Served, container_id: str, file_id: str, data: bytes) -> None:
    request = RetrieveContainerFileContentRequest(container_id=container_id, file_id=file_id)
    call = served.files.RetrieveContainerFileContent(request, metadata=OURS)
    headers = dict(await call.initial_metadata())
    bodies = [body async for body in call]
    assert bodies[0] == HttpBody(content_type="a/b")
    assert b"".join(body.data for body in bodies) == data
    assert headers["x-content-length"] == str(len(data))
    assert headers["etag"] == f'"{sha256(data).hexdigest()}"'
    assert headers["content-disposition"] == "attachment; filename=\"_.bin\"; filename*=UTF-8''%E5%90%8D.bin"
    assert headers["x-bifrost-provider"] == "ollama"
    assert headers["x-bifrost-request-type"] == "container_file_content"


async def test_a_range_and_an_empty_file_are_downloaded(served: Served) -> None:
    """The first message has the type, also when no bytes follow; a range has its own length."""
    home = await make(served)
    call = served.files.CreateContainerFile(metadata=OURS)
    await call.write(CreateContainerFileRequest(container_id=home.id, content_type="a/b", body=HttpBody(data=b"hello")))
    await call.done_writing()
    file = await call
    for offset, length, expected in ((1, 3, b"ell"), (5, 1, b"")):
        request = RetrieveContainerFileContentRequest(
            container_id=home.id, file_id=file.id, offset=offset, length=length
        )
        download = served.files.RetrieveContainerFileContent(request, metadata=OURS)
        assert dict(await download.initial_metadata())["x-content-length"] == str(len(expected))
        bodies = [body async for body in download]
        assert bodies[0].content_type == "a/b"
        assert b"".join(body.data for body in bodies) == expected


async def test_every_answer_carries_its_headers(served: Served) -> None:
    """Request id, operation and provider stand beside an answer, and beside a refusal."""
    call = served.containers.CreateContainer(
        CreateContainerRequest(name="box", provider=OLLAMA), metadata=(*OURS, ("x-request-id", "mine"))
    )
    await call
    facts = {"x-request-id": "mine", "x-bifrost-request-type": "container_create", "x-bifrost-provider": "ollama"}
    assert dict(await call.trailing_metadata()) == facts
    error = await refused(
        served.containers.CreateContainer(
            CreateContainerRequest(provider=OLLAMA), metadata=(*OURS, ("x-request-id", "mine"))
        )
    )
    assert facts.items() <= error.headers.items()
    assert (error.reply.extra_fields.provider, error.reply.extra_fields.request_type) == ("ollama", "container_create")


async def test_a_request_without_an_id_gets_one(served: Served) -> None:
    """An id is made where none is sent; a sent one is cut at 128 characters."""
    call = served.containers.ListContainers(ListContainersRequest(), metadata=OURS)
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "request-1"
    call = served.containers.ListContainers(
        ListContainersRequest(), metadata=(*OURS, ("x-request-id", "x" * 129), ("some-bin", b"\xff"))
    )
    await call
    assert dict(await call.trailing_metadata())["x-request-id"] == "x" * 128


@pytest.mark.parametrize("sent", ["café".encode(), b"\xff\xfe", b"a\nb", b"a\tb"])
async def test_an_id_that_cannot_be_sent_back_is_replaced(served: Served, sent: bytes) -> None:
    """An id that is no printable ASCII would cost the whole answer: the call gets another one."""
    answer = await raw_call(
        served.port,
        "/berth.v1.ContainerService/ListContainers",
        (b"x-bf-vk", b"sk-bf-ours"),
        (b"x-request-id", sent),
    )
    assert b"container_list" in answer
    assert b"request-1" in answer
    assert sent not in answer


@pytest.mark.parametrize("path", [b"/\xff\xfe", b"/berth.v1.ContainerService/\xe9", b"/\xc3\xa9"])
async def test_a_path_that_is_no_text_ends_only_its_own_call(served: Served, path: bytes) -> None:
    """A path that is not UTF-8 is an unknown method; it does not end the server, as in grpc 1.84 and 1.85."""
    assert b"container_list" not in await raw_call(served.port, path, (b"x-bf-vk", b"sk-bf-ours"))
    await served.containers.ListContainers(ListContainersRequest(), metadata=OURS)


async def test_rest_answers_carry_the_facts_in_the_status_message(served: Served) -> None:
    """What came through the transcoder has the facts where Envoy finds them, and its path may name a provider."""
    answer = await raw_call(
        served.port,
        "/berth.v1.ContainerService/ListContainers",
        (b"x-bf-vk", b"sk-bf-ours"),
        (b"x-envoy-original-path", b"/v1/containers"),
        message=ListContainersRequest(provider=GROQ).SerializeToString(),
    )
    assert b"x-bifrost-request-type=container_list;x-bifrost-provider=groq" in answer
    assert answer.count(b"x-bifrost-") == 2  # there alone
    alias = (*OURS, ("x-envoy-original-path", "/openai/v1/containers"))
    error = await refused(served.containers.CreateContainer(CreateContainerRequest(name="box"), metadata=alias))
    assert error.facts() == ("FAILED_PRECONDITION", "provider_not_configured", "provider")
    assert error.reply.extra_fields.provider == "openai"


async def test_each_call_is_one_log_line(served: Served) -> None:
    """A line says who called what, how it ended and how long it took; never a key."""
    await make(served)
    await refused(served.containers.RetrieveContainer(RetrieveContainerRequest(container_id="x"), metadata=OURS))
    await refused(served.containers.ListContainers(ListContainersRequest()))
    first, second, third = await served.logged(3)
    assert isinstance(first["milliseconds"], float)
    assert {**first, "milliseconds": 0} == {
        "event": "call.finished",
        "log_level": "info",
        "method": "/berth.v1.ContainerService/CreateContainer",
        "status": "OK",
        "milliseconds": 0,
        "request_id": "request-1",
        "trace_id": trace_id_of("request-1"),
        "provider": "ollama",
        "tenant": "ours",
        "caller": "first",
    }
    assert (second["status"], second["provider"], second["tenant"]) == ("NOT_FOUND", None, "ours")
    assert (third["status"], third["tenant"], third["caller"]) == ("UNAUTHENTICATED", None, None)
    assert "sk-bf-" not in repr(served.log)
