"""Who gets past admission: nobody to what is not theirs, and nobody to what nobody thought of."""

from collections.abc import AsyncIterator
from functools import cache

import grpc.aio
import pytest
import structlog
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.core.routing.router import Router
from berth.rpc.call import Call
from berth.rpc.interceptors.admission import admission
from berth.rpc.interceptors.auth import auth_interceptor
from berth.rpc.interceptors.errors import errors_interceptor
from berth.rpc.interceptors.request import request_interceptor
from berth.rpc.server import Server
from berth.v1 import container_service_pb2
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
from support.fakes.blobs import MemoryBlobs
from support.fakes.records import container
from support.fakes.stores import FixedClock, MemoryStore
from support.servers.hosted import hosted
from support.servers.service import (
    GROQ,
    OLLAMA,
    ONLY_GROQ,
    OURS,
    THEIRS,
    Metadata,
    credentials,
    no_files,
    refused,
    unhurried,
)

NONE = Provider.PROVIDER_UNSPECIFIED


class Careless:
    """Handlers that ask nothing: each answers with the container that the request names."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def PeekContainer(self, request: RetrieveContainerRequest, _call: Call) -> Container:  # noqa: N802 - as in proto
        """Be a method that says nothing of its reach."""
        self.reached.append(request.container_id)
        return Container(id=request.container_id)

    RetrieveContainer = PeekContainer


@cache
def more_methods() -> ServiceDescriptor:
    """Return a service with a method that is new, and one of a known name."""
    file = FileDescriptorProto(name="more.proto", package="more", syntax="proto3")
    file.dependency.append(container_service_pb2.DESCRIPTOR.name)
    service = file.service.add(name="More")
    for name in ("PeekContainer", "RetrieveContainer"):
        service.method.add(
            name=name, input_type=".berth.v1.RetrieveContainerRequest", output_type=".berth.v1.Container"
        )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("more.More")


@pytest.fixture
def careless() -> Careless:
    return Careless()


@pytest.fixture
async def channel(careless: Careless) -> AsyncIterator[grpc.aio.Channel]:
    store, log = MemoryStore(), structlog.wrap_logger(None, processors=[lambda *_: ""])
    await store.add_container(container("box", provider=OLLAMA))
    backend = hosted(store, MemoryBlobs(), clock=FixedClock())
    router = Router({OLLAMA: backend, GROQ: backend}, hosted=backend, store=store)
    outer = [
        request_interceptor(log, PrometheusMetrics(), new_request_id=lambda: "request"),
        errors_interceptor(log),
        auth_interceptor(credentials(), unhurried()),
    ]
    server = Server({more_methods(): careless}, admit=admission(router, no_files()), interceptors=outer)
    port = server.bind("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.drain(0)


def ask(
    channel: grpc.aio.Channel, method: str, metadata: Metadata, container_id: str, provider: Provider
) -> grpc.aio.UnaryUnaryCall[RetrieveContainerRequest, Container]:
    call: grpc.aio.UnaryUnaryMultiCallable[RetrieveContainerRequest, Container] = channel.unary_unary(
        f"/more.More/{method}", RetrieveContainerRequest.SerializeToString, Container.FromString
    )
    return call(RetrieveContainerRequest(container_id=container_id, provider=provider), metadata=metadata)


async def test_a_method_without_a_reach_is_open_to_nobody(channel: grpc.aio.Channel, careless: Careless) -> None:
    """Whoever adds a method and does not say what it reaches sees it refused, to the owner as well."""
    for metadata in (OURS, THEIRS):
        error = await refused(ask(channel, "PeekContainer", metadata, "box", NONE))
        assert error.facts() == ("PERMISSION_DENIED", "operation_blocked", None)
    assert careless.reached == []


@pytest.mark.parametrize("provider", [NONE, OLLAMA, GROQ])
@pytest.mark.parametrize("container_id", ["box", "nothing"])
async def test_a_careless_handler_sees_nothing_foreign(
    channel: grpc.aio.Channel, careless: Careless, provider: Provider, container_id: str
) -> None:
    """A handler that forgets to ask whose a container is never gets a request about somebody else's."""
    error = await refused(ask(channel, "RetrieveContainer", THEIRS, container_id, provider))
    assert (error.status.name, error.message) == ("NOT_FOUND", f"Container {container_id} not found.")
    assert careless.reached == []


@pytest.mark.parametrize(
    ("metadata", "provider", "status"),
    [((), NONE, "UNAUTHENTICATED"), (ONLY_GROQ, NONE, "PERMISSION_DENIED"), (OURS, GROQ, "NOT_FOUND")],
)
async def test_admission_asks_for_everything(
    channel: grpc.aio.Channel, careless: Careless, metadata: Metadata, provider: Provider, status: str
) -> None:
    """No credential, a key that may not use the container's provider, a provider that is not the container's."""
    assert (await refused(ask(channel, "RetrieveContainer", metadata, "box", provider))).status.name == status
    assert careless.reached == []


@pytest.mark.parametrize("provider", [NONE, OLLAMA])
async def test_the_owner_is_admitted(channel: grpc.aio.Channel, careless: Careless, provider: Provider) -> None:
    """The owner gets an answer, with or without the provider's name."""
    assert (await ask(channel, "RetrieveContainer", OURS, "box", provider)).id == "box"
    assert careless.reached == ["box"]
