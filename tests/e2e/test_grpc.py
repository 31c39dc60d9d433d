"""The same tour with the generated stubs: straight to the service, and through Envoy on the REST port."""

import hashlib
import os
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody

from berth.v1.container_file_service_pb2 import (
    CreateContainerFileRequest,
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.servers.berth import KEY_A, Berth
from support.servers.chain import everywhere

pytestmark = everywhere

KEY = (("authorization", f"Bearer {KEY_A}"),)
PIECE_BYTES = 512 * 1024


@pytest.fixture(params=["direct", "envoy"])
async def channel(request: pytest.FixtureRequest, berth: Berth) -> AsyncIterator[grpc.aio.Channel]:
    target = berth.grpc if request.param == "direct" else urlsplit(berth.rest).netloc
    async with grpc.aio.insecure_channel(target) as channel:
        yield channel


async def test_container_tour(channel: grpc.aio.Channel) -> None:
    """Containers are created, listed page by page, retrieved and deleted."""
    stub = ContainerServiceStub(channel)
    made = [
        await stub.CreateContainer(
            CreateContainerRequest(provider=Provider.PROVIDER_GROQ, name="grpc", metadata={"n": str(n)}), metadata=KEY
        )
        for n in range(5)
    ]
    request = ListContainersRequest(provider=Provider.PROVIDER_GROQ, name="grpc", limit=2)
    seen = []
    while page := (await stub.ListContainers(request, metadata=KEY)).data:
        seen += [container.id for container in page]
        request.after = page[-1].id
    assert seen == [container.id for container in reversed(made)]
    for container in made:
        got = await stub.RetrieveContainer(RetrieveContainerRequest(container_id=container.id), metadata=KEY)
        assert got.metadata == container.metadata
        gone = await stub.DeleteContainer(DeleteContainerRequest(container_id=container.id), metadata=KEY)
        assert (gone.id, gone.object, gone.deleted) == (container.id, "container.deleted", True)


async def test_file_tour(channel: grpc.aio.Channel) -> None:
    """16 MiB go up and come down with the same digest; the file is listed, retrieved, read in part and deleted."""
    containers, files = ContainerServiceStub(channel), ContainerFileServiceStub(channel)
    container = await containers.CreateContainer(
        CreateContainerRequest(provider=Provider.PROVIDER_GROQ, name="files"), metadata=KEY
    )
    pieces = [os.urandom(PIECE_BYTES) for _ in range(32)]

    async def upload() -> AsyncIterator[CreateContainerFileRequest]:
        yield CreateContainerFileRequest(
            container_id=container.id, file_path="in/data.bin", body=HttpBody(content_type="application/x-data")
        )
        for piece in pieces:
            yield CreateContainerFileRequest(body=HttpBody(data=piece))

    file = await files.CreateContainerFile(upload(), metadata=KEY)
    assert (file.bytes, file.path) == (32 * PIECE_BYTES, "/mnt/data/in/data.bin")
    where = {"container_id": container.id, "file_id": file.id}
    page = await files.ListContainerFiles(ListContainerFilesRequest(container_id=container.id), metadata=KEY)
    assert [item.id for item in page.data] == [file.id]
    got = await files.RetrieveContainerFile(RetrieveContainerFileRequest(**where), metadata=KEY)
    assert got.path == file.path
    whole = RetrieveContainerFileContentRequest(container_id=container.id, file_id=file.id)
    call = files.RetrieveContainerFileContent(whole, metadata=KEY)
    parts = [part async for part in call]
    content = b"".join(part.data for part in parts)
    assert parts[0].content_type == "application/x-data"
    assert hashlib.sha256(content).digest() == hashlib.sha256(b"".join(pieces)).digest()
    headers = dict(await call.initial_metadata())
    assert headers["x-content-length"] == str(len(content))
    ranged = files.RetrieveContainerFileContent(
        RetrieveContainerFileContentRequest(
            container_id=container.id, file_id=file.id, offset=PIECE_BYTES - 2, length=4
        ),
        metadata=KEY,
    )
    assert b"".join([part.data async for part in ranged]) == content[PIECE_BYTES - 2 : PIECE_BYTES + 2]
    gone = await files.DeleteContainerFile(DeleteContainerFileRequest(**where), metadata=KEY)
    assert gone.deleted


async def test_rich_errors(channel: grpc.aio.Channel) -> None:
    """A refusal keeps its status, text and standard details, also on the port that serves REST."""
    stub = ContainerServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListContainers(ListContainersRequest(limit=101), metadata=KEY)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(caught.value.trailing_metadata() or ())
    assert b"INTEGER_ABOVE_MAX_VALUE" in trailers["grpc-status-details-bin"]
    assert trailers["x-bifrost-request-type"] == "container_list"
