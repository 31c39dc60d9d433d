"""A tiny service of the contract's own operations, for tests of what stands before the real one.

What it does beyond answering, a request asks for by metadata that begin with
`do-`.
"""
# ruff: noqa: N802 # handlers bear the names of the contract

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import structlog
from google.api import httpbody_pb2

from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings
from berth.v1 import container_file_pb2, container_pb2
from berth.v1 import container_file_service_pb2_grpc as files_grpc
from berth.v1 import container_service_pb2 as containers
from berth.v1 import container_service_pb2_grpc as containers_grpc

LIMITS = [
    ("grpc.max_receive_message_length", 24 * 1_048_576),
    ("grpc.max_send_message_length", 24 * 1_048_576),
    ("grpc.max_metadata_size", 98_304),
]
GRACE_SECONDS = 1.0
Context = grpc.aio.ServicerContext[Any, Any]


class StandIn(containers_grpc.ContainerServiceServicer, files_grpc.ContainerFileServiceServicer):
    """The service; `calls` holds the metadata of the calls that reached it."""

    def __init__(self) -> None:
        self.calls: list[Mapping[str, Any]] = []
        self.holding, self.resume = asyncio.Event(), asyncio.Event()

    async def CreateContainer(self, request: Any, context: Context) -> container_pb2.Container:
        """Answer with the length of the name."""
        await self.obey(context)
        return self.created(request)

    def created(self, request: containers.CreateContainerRequest) -> container_pb2.Container:
        """Return what a create answers."""
        return container_pb2.Container(
            id="cntr_1",
            name=str(len(request.name)),
            created_at=4_294_967_295,
            status=container_pb2.CONTAINER_STATUS_RUNNING,
        )

    async def ListContainers(self, request: Any, context: Context) -> containers.ListContainersResponse:
        """Answer with one container whose name is as long as `do-bytes` says."""
        wishes = await self.obey(context)
        data = [container_pb2.Container(name="x" * int(wishes.get("do-bytes", 0)))] if "do-bytes" in wishes else []
        return containers.ListContainersResponse(object="list", data=data, first_id=str(request.limit))

    async def RetrieveContainer(self, request: Any, context: Context) -> container_pb2.Container:
        """Answer with the id that arrived, but with `do-hold` only when `resume` is set."""
        if "do-hold" in await self.obey(context):
            self.holding.set()
            await self.resume.wait()
        return container_pb2.Container(id=request.container_id)

    async def CreateContainerFile(self, requests: Any, context: Context) -> container_file_pb2.ContainerFile:
        """Count the bytes."""
        await self.obey(context)
        return container_file_pb2.ContainerFile(bytes=sum([len(one.body.data) async for one in requests]))

    async def RetrieveContainerFileContent(
        self, request: Any, context: Context
    ) -> AsyncIterator[httpbody_pb2.HttpBody]:
        """Send `length` pieces of 64 KiB."""
        wishes = await self.obey(context)
        await context.send_initial_metadata((("etag", '"e"'), ("content-disposition", "attachment")))
        for _ in range(request.length):
            yield httpbody_pb2.HttpBody(content_type="text/csv", data=b"x" * 65_536)
        if "do-break" in wishes:
            await context.abort(grpc.StatusCode.INTERNAL, "broken", (("connection", "close"),))

    async def obey(self, context: Context) -> Mapping[str, Any]:
        """Take down the metadata, and do what they ask for."""
        wishes = dict(context.invocation_metadata() or ())
        self.calls.append(wishes)
        if "do-abort" in wishes:
            await context.abort(getattr(grpc.StatusCode, str(wishes["do-abort"])), "bare")
        if "do-details" in wishes:
            context.set_details(str(wishes["do-details"]))
        return wishes


@dataclass(frozen=True)
class Edge:
    """An Envoy before a stand-in: the port of both kinds of callers, and what reached the service."""

    port: int
    service: StandIn
    server: grpc.aio.Server

    @property
    def rest(self) -> str:
        """Return the base URL."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def stand_in_behind_envoy(folder: Path, settings: EdgeSettings) -> AsyncIterator[Edge]:
    """Run a stand-in with an Envoy before it, both on ports that the system chooses."""
    # Its other operations stay unimplemented.
    service, server = StandIn(), grpc.aio.server(options=LIMITS)  # type: ignore[abstract] # on purpose
    containers_grpc.add_ContainerServiceServicer_to_server(service, server)
    files_grpc.add_ContainerFileServiceServicer_to_server(service, server)
    server.add_generic_rpc_handlers([_json_bodies(service)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    configuration = bootstrap(replace(settings, rest_port=0, admin_socket=ADMIN_SOCKET, grpc_port=port))
    try:
        async with running_envoy(
            configuration,
            folder,
            listener="rest",
            grace_seconds=GRACE_SECONDS,
            json_log=False,
            log=structlog.get_logger(),
        ) as envoy:
            yield Edge(envoy.port, service, server)
    finally:
        await server.stop(None)


def _json_bodies(service: StandIn) -> grpc.GenericRpcHandler:
    """Return what takes a create whose body is JSON; all that is read of it is the name."""

    async def create(requests: AsyncIterator[bytes], context: Context) -> container_pb2.Container:
        await service.obey(context)
        body = b"".join([part async for part in requests])
        name = re.search(rb'"name": ?"(.*?)"', body, re.DOTALL)
        request = containers.CreateContainerRequest(name=name[1].decode() if name else "")
        return service.created(request)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(
        create, response_serializer=container_pb2.Container.SerializeToString
    )
    return grpc.method_handlers_generic_handler("berth.rest.JsonBodies", {"CreateContainer": handler})


def assert_refused(answer: Any, status: int, *, param: str | None = None, code: str | None = None) -> str:
    """Assert that an answer is the envelope and nothing else; return the message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
    assert not [name for name in answer.headers if name.startswith(("grpc-", "x-envoy-"))]
    body = answer.json()
    message = body["error"].pop("message")
    kind = "rate_limited" if status == 429 else "api_error" if status >= 500 else "invalid_request_error"
    assert body == {
        "error": {"type": kind, "param": param, "code": code},
        "is_bifrost_error": status >= 500,
        "status_code": status,
        "extra_fields": {},
    }
    assert message
    assert message == message.strip()
    assert param is None or f"'{param}'" in message
    return str(message)
