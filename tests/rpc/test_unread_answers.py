"""Answers that a tenant does not read, over a real socket."""

import asyncio

import grpc.aio

from berth.core.routing.unsupported import UnsupportedBackend
from berth.rpc.interceptors.unread import CALL_BYTES
from berth.v1.container_service_pb2 import (
    DeleteContainerRequest,
    DeleteContainerResponse,
    ListContainersRequest,
    ListContainersResponse,
)
from support.clients.http2 import unread_calls
from support.servers.service import GROQ, OLLAMA, OURS, THEIRS, Served, eventually, refused, serving

LISTS = "/berth.v1.ContainerService/ListContainers"
LIST = ListContainersRequest(provider=OLLAMA)
DELETE = DeleteContainerRequest(provider=OLLAMA, container_id="cntr_1")
LARGE = 1_000_000
MAXIMUM = 3 * (LARGE + CALL_BYTES)


class Large(UnsupportedBackend):
    """A backend with large lists, which wait for `go`."""

    def __init__(self) -> None:
        super().__init__(GROQ)
        self.asked, self.go = 0, asyncio.Event()

    async def list_containers(self, *_: object) -> ListContainersResponse:
        self.asked += 1
        await self.go.wait()
        return ListContainersResponse(object="x" * LARGE)

    async def delete_container(self, *_: object) -> DeleteContainerResponse:
        self.asked += 1
        await self.go.wait()
        return DeleteContainerResponse(id="cntr_1")


async def connected(port: int, data: bytes) -> asyncio.StreamWriter:
    """Send `data` over a new connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return writer


async def test_a_tenant_has_some_answers_that_it_does_not_read() -> None:
    """With more its calls are refused, until the connection is closed; other tenants are served."""
    backend = Large()
    backend.go.set()
    async with serving(backend, unread_bytes=MAXIMUM) as served:
        headers = tuple((name.encode(), str(value).encode()) for name, value in OURS)
        writer = await connected(served.port, unread_calls(LISTS, LIST.SerializeToString(), 6, *headers))
        await served.logged(6)
        statuses = [line["status"] for line in served.lines()]
        assert sorted(map(str, statuses)) == ["OK"] * 3 + ["RESOURCE_EXHAUSTED"] * 3
        error = await refused(served.containers.ListContainers(LIST, metadata=OURS))
        assert error.facts() == ("RESOURCE_EXHAUSTED", "request_limited", None)
        await served.containers.ListContainers(LIST, metadata=THEIRS)
        writer.transport.abort()
        await eventually_served(served)


async def test_calls_that_began_together_are_counted_at_their_end() -> None:
    """What only reads is refused once others have filled the room meanwhile; what has changed something is not."""
    backend = Large()
    async with serving(backend, unread_bytes=MAXIMUM) as served:
        deleted = asyncio.ensure_future(served.containers.DeleteContainer(DELETE, metadata=OURS))
        await eventually(lambda: backend.asked == 1)
        headers = tuple((name.encode(), str(value).encode()) for name, value in OURS)
        writer = await connected(served.port, unread_calls(LISTS, LIST.SerializeToString(), 6, *headers))
        await eventually(lambda: backend.asked == 7)
        backend.go.set()
        await served.logged(7)
        assert (await deleted).id == "cntr_1"
        statuses = [line["status"] for line in served.lines()]
        assert (statuses.count("OK"), statuses.count("RESOURCE_EXHAUSTED")) == (4, 3)
        writer.transport.abort()


async def eventually_served(served: Served) -> None:
    """Wait until a call of our tenant succeeds."""
    async with asyncio.timeout(30):
        while True:
            try:
                await served.containers.ListContainers(LIST, metadata=OURS)
            except grpc.aio.AioRpcError:
                continue
            else:
                return
