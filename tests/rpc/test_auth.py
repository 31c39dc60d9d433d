"""Who is let in, through a socket: every scheme, with nothing, the right, the wrong, and two that differ."""

import asyncio
import base64
from collections.abc import Awaitable

import grpc.aio
import pytest

from berth.v1 import container_file_service_pb2, container_service_pb2
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from support.servers.hosted import Kept, Left
from support.servers.service import GROQ, OLLAMA, ONLY_GROQ, Metadata, Served, refused

HEADERS = ("x-bf-vk", "authorization", "x-api-key", "x-goog-api-key", "api-key")


def carrying(header: str, key: str) -> tuple[str, str]:
    return (header, f"Bearer {key}" if header == "authorization" else key)


def basic(user_and_password: str) -> tuple[str, str]:
    return ("authorization", "Basic " + base64.b64encode(user_and_password.encode()).decode())


METHODS = [
    f"/{service.full_name}/{method.name}"
    for service in (
        container_service_pb2.DESCRIPTOR.services_by_name["ContainerService"],
        container_file_service_pb2.DESCRIPTOR.services_by_name["ContainerFileService"],
    )
    for method in service.methods
]


@pytest.mark.parametrize("method", METHODS)
async def test_nothing_is_read_of_who_is_not_known(served: Served, method: str) -> None:
    """Without a key the answer comes before any message: no memory is held for one, and none is waited for."""
    call: grpc.aio.StreamStreamCall[bytes, bytes] = served.channel.stream_stream(method)()
    async with asyncio.timeout(30):
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def listed(served: Served, *metadata: tuple[str, str]) -> None:
    await served.containers.ListContainers(ListContainersRequest(), metadata=metadata)


@pytest.mark.parametrize("header", HEADERS)
async def test_a_virtual_key_opens(served: Served, header: str) -> None:
    """In each header the right key lets in, and a wrong one does not."""
    await listed(served, carrying(header, "sk-bf-ours"))
    assert (await served.logged(1))[0]["caller"] == "first"
    error = await refused(listed(served, carrying(header, "sk-bf-nobody")))
    assert error.facts() == ("UNAUTHENTICATED", "virtual_key_not_found", None)
    assert error.reply.error.type == "virtual_key_not_found"
    assert error.reply.status_code == 401


async def test_a_basic_user_opens(served: Served) -> None:
    """The right password lets in; a wrong one, or a wrong user, does not, and none can tell which."""
    await listed(served, basic("ops:pass:wörd"))
    assert (await served.logged(1))[0]["caller"] == "ops"
    wrong_password = await refused(listed(served, basic("ops:wrong")))
    wrong_user = await refused(listed(served, basic("nobody:pass:wörd")))
    assert wrong_password.facts() == ("UNAUTHENTICATED", "basic_user_not_found", None)
    assert wrong_password.reply == wrong_user.reply


async def test_nobody_is_not_let_in(served: Served) -> None:
    """Without a credential the answer says where to put one."""
    error = await refused(listed(served))
    assert error.facts() == ("UNAUTHENTICATED", "virtual_key_required", None)
    assert "x-bf-vk" in error.message


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("second", [("x-bf-vk", "sk-bf-theirs"), basic("ops:pass:wörd")])
async def test_two_that_differ_are_refused(served: Served, header: str, second: tuple[str, str]) -> None:
    """Two credentials that are not the same say nothing, even if each of them is right."""
    error = await refused(listed(served, carrying(header, "sk-bf-ours"), second))
    assert error.facts() == ("UNAUTHENTICATED", "conflicting_credentials", None)


@pytest.mark.parametrize("header", HEADERS)
async def test_the_same_key_twice_is_one_key(served: Served, header: str) -> None:
    """SDKs send a key in their own header while another stands in x-bf-vk: that is no contradiction."""
    await listed(served, ("x-bf-vk", "sk-bf-ours"), carrying(header, "sk-bf-ours"))


@pytest.mark.parametrize("metadata", [(), (("x-bf-vk", "sk-bf-nobody"),)])
async def test_every_method_asks_who_is_calling(served: Served, kept: Kept, metadata: Metadata) -> None:
    """Each of the nine refuses a stranger before it looks at the request, and leaves nothing."""
    containers, files = served.containers, served.files
    upload = files.CreateContainerFile(metadata=metadata)
    download = files.RetrieveContainerFileContent(RetrieveContainerFileContentRequest(), metadata=metadata)
    calls: list[Awaitable[object]] = [
        upload,
        anext(aiter(download)),
        containers.CreateContainer(CreateContainerRequest(name="box", provider=OLLAMA), metadata=metadata),
        containers.ListContainers(ListContainersRequest(limit=0), metadata=metadata),
        containers.RetrieveContainer(RetrieveContainerRequest(), metadata=metadata),
        containers.DeleteContainer(DeleteContainerRequest(), metadata=metadata),
        files.ListContainerFiles(ListContainerFilesRequest(), metadata=metadata),
        files.RetrieveContainerFile(RetrieveContainerFileRequest(), metadata=metadata),
        files.DeleteContainerFile(DeleteContainerFileRequest(), metadata=metadata),
    ]
    for call in calls:
        assert (await refused(call)).reply.status_code == 401
    assert kept.left() == Left()


async def test_a_stranger_is_refused_before_the_body_is_read(served: Served) -> None:
    """A request that cannot be parsed, and an upload of which nothing ever comes, are answered all the same."""
    path = "/berth.v1.ContainerService/ListContainers"
    malformed: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(path)
    assert (await refused(malformed(b"\xff\xff"))).status.name == "UNAUTHENTICATED"
    # Whoever writes while the answer arrives may be told of an internal error instead: grpc.aio's own mistake.
    assert (await refused(served.files.CreateContainerFile())).status.name == "UNAUTHENTICATED"


async def test_a_restricted_key_is_kept_to_its_providers(served: Served, kept: Kept) -> None:
    """A key for one provider makes containers of it and of no other."""
    error = await refused(
        served.containers.CreateContainer(CreateContainerRequest(name="box", provider=OLLAMA), metadata=ONLY_GROQ)
    )
    assert error.facts() == ("PERMISSION_DENIED", "provider_blocked", None)
    assert error.reply.error.type == "provider_blocked"
    assert error.reply.status_code == 403
    assert error.reply.extra_fields.provider == "ollama"
    refusal = await refused(
        served.containers.ListContainers(ListContainersRequest(provider=OLLAMA), metadata=ONLY_GROQ)
    )
    assert refusal.facts() == ("PERMISSION_DENIED", "provider_blocked", None)
    await served.containers.CreateContainer(CreateContainerRequest(name="box", provider=GROQ), metadata=ONLY_GROQ)
    assert kept.left() == Left(containers=1)
