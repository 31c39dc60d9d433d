"""The server itself: health, reflection, and how it stops."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from berth.core.operations import OPERATIONS
from berth.core.routing.router import Router
from berth.core.routing.unsupported import UnsupportedBackend
from berth.rpc.call import Call, Method
from berth.rpc.interceptors.admission import admission
from berth.rpc.server import Server
from berth.rpc.transports.context import Context, Route
from berth.rpc.transports.grpcio.server import SETTINGS_SECONDS, CallLimit, GrpcRoutes, build_server
from berth.v1.container_service_pb2 import ListContainersRequest, ListContainersResponse
from support.clients.http2 import beginning
from support.fakes.stores import MemoryStore
from support.servers.service import GROQ, OURS, Served, eventually, no_files, serving

RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
SERVICES = ["berth.v1.ContainerService", "berth.v1.ContainerFileService", "berth.v1.ContainerExecService"]


class Waiting(UnsupportedBackend):
    """A backend whose lists wait for `go`; `began` is set while one waits, `gave_up` once one was cancelled."""

    def __init__(self) -> None:
        super().__init__(GROQ)
        self.began, self.go, self.gave_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def list_containers(self, *_: object) -> ListContainersResponse:
        self.began.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.gave_up.set()
            raise
        return ListContainersResponse(object="list")


async def health(served: Served, service: str) -> int:
    check: grpc.aio.UnaryUnaryMultiCallable[HealthCheckRequest, HealthCheckResponse] = served.channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    return (await check(HealthCheckRequest(service=service))).status


@pytest.fixture
async def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
async def served(waiting: Waiting) -> AsyncIterator[Served]:
    async with serving(waiting) as served:
        yield served


async def test_calls_over_grpc_have_a_limit() -> None:
    """More calls at a time than are allowed are refused and counted, also those of another service."""
    began, go, counted = asyncio.Event(), asyncio.Event(), list[str]()

    async def wait(_: Context) -> bytes:
        began.set()
        await go.wait()
        return b""

    limit = CallLimit(1, counted.append)
    server = build_server({"/a/Wait": Route(wait, is_stream=False)}, [], limit)
    server.add_generic_rpc_handlers([GrpcRoutes({"/b/Wait": Route(wait, is_stream=False)}, limit)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        to_a: Any = channel.unary_unary("/a/Wait")
        to_b: Any = channel.unary_unary("/b/Wait")
        first = to_a(b"")
        await began.wait()
        second = to_b(b"")
        assert (await second.code(), await second.details()) == (RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")
        go.set()
        assert await first.code() == grpc.StatusCode.OK
        assert await to_b(b"") == b""
    await server.stop(None)
    assert counted == ["transport"]


@pytest.mark.parametrize("service", ["", *SERVICES])
async def test_health_needs_no_key(served: Served, service: str) -> None:
    """Overall and for each service, whoever asks is told that it serves."""
    assert await health(served, service) == SERVING


async def test_the_health_of_an_unknown_service_is_not_found(served: Served) -> None:
    """A service that is not there has no health."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(served, "berth.v1.FlightService")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def reflected(served: Served, version: str, request: ServerReflectionRequest) -> ServerReflectionResponse:
    """Ask the reflection of a version."""
    ask: grpc.aio.StreamStreamMultiCallable[ServerReflectionRequest, ServerReflectionResponse]
    ask = served.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest.SerializeToString,
        ServerReflectionResponse.FromString,
    )
    (answer,) = [answer async for answer in ask(iter([request]))]
    return answer


VERSIONS = pytest.mark.parametrize("version", ["v1", "v1alpha"])


@VERSIONS
async def test_reflection_shows_the_services(served: Served, version: str) -> None:
    """Tools such as grpcurl see the services of the contract, health, and reflection itself in both versions."""
    answer = await reflected(served, version, ServerReflectionRequest(list_services=""))
    names = [service.name for service in answer.list_services_response.service]
    reflections = {"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
    assert set(names) == {*SERVICES, "grpc.health.v1.Health"} | reflections
    for name in names:
        described = await reflected(served, version, ServerReflectionRequest(file_containing_symbol=name))
        assert described.file_descriptor_response.file_descriptor_proto


@VERSIONS
@pytest.mark.parametrize(
    ("symbol", "is_there"),
    [
        ("berth.v1.ContainerService", True),
        ("berth.v1.ContainerService.CreateContainer", True),
        ("berth.v1.Container", True),
        ("berth.v1.Container.name", True),
        ("berth.v1.Provider", True),
        ("berth.v1.ContainerService.Nothing", False),
        ("berth.v1.Nothing.CreateContainer", False),
        ("berth.rest.JsonBodies", False),
        ("berth.rest.JsonBodies.CreateContainer", False),
        ("", False),
    ],
)
async def test_reflection_finds_symbols(served: Served, version: str, symbol: str, *, is_there: bool) -> None:
    """`grpcurl describe` finds services, methods and messages, and nothing of the service behind JSON bodies."""
    answer = await reflected(served, version, ServerReflectionRequest(file_containing_symbol=symbol))
    assert answer.HasField("file_descriptor_response") is is_there


async def test_a_taken_port_is_told(served: Served) -> None:
    """A second server on the same port is a mistake that shows at once."""
    router = Router({}, hosted=UnsupportedBackend(GROQ), store=MemoryStore())
    second = Server({}, admit=admission(router, no_files()), interceptors=[])
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{served.port}"):
        second.bind(f"127.0.0.1:{served.port}")


async def test_who_resigns_still_answers(served: Served, waiting: Waiting) -> None:
    """Health says that calls should go elsewhere before any is refused."""
    await served.server.resign()
    for service in ("", *SERVICES):
        assert await health(served, service) == NOT_SERVING
    waiting.go.set()
    assert (await served.containers.ListContainers(ListContainersRequest(), metadata=OURS)).object == "list"


async def test_a_drain_lets_a_running_call_finish(served: Served, waiting: Waiting) -> None:
    """Health changes for who watches, new calls are refused, and the running one is answered."""
    watch: grpc.aio.UnaryStreamMultiCallable[HealthCheckRequest, HealthCheckResponse] = served.channel.unary_stream(
        "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    watching = watch(HealthCheckRequest())
    seen = aiter(watching)
    assert (await anext(seen)).status == SERVING
    running = served.containers.ListContainers(ListContainersRequest(), metadata=OURS)
    await waiting.began.wait()
    drain = asyncio.create_task(served.server.drain(10))
    assert (await anext(seen)).status == NOT_SERVING
    watching.cancel()
    await eventually(lambda: served.channel.get_state() is not grpc.ChannelConnectivity.READY)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.containers.ListContainers(ListContainersRequest(), metadata=OURS)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert not drain.done()
    waiting.go.set()
    assert (await running).object == "list"
    async with asyncio.timeout(30):
        await drain
    assert [line["status"] for line in served.lines()] == ["OK"]


async def test_a_notice_gives_balancers_time(served: Served, waiting: Waiting) -> None:
    """If something asked for the health, calls are answered after it has changed: who sends them may not know yet."""
    check: grpc.aio.UnaryUnaryMultiCallable[HealthCheckRequest, HealthCheckResponse] = served.channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    assert (await check(HealthCheckRequest())).status == SERVING
    waiting.go.set()
    notice = asyncio.create_task(served.server.give_notice())
    async with asyncio.timeout(30):
        while (await check(HealthCheckRequest())).status != NOT_SERVING:
            pass
        assert (await served.containers.ListContainers(ListContainersRequest(), metadata=OURS)).object == "list"
        await notice
        await served.server.drain(10)


async def test_a_drain_does_not_wait_for_watchers(served: Served) -> None:
    """Who watches the health of the service, as clients in a mesh do for ever, does not hold it up."""
    watch: grpc.aio.UnaryStreamMultiCallable[HealthCheckRequest, HealthCheckResponse] = served.channel.unary_stream(
        "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    seen = aiter(watch(HealthCheckRequest()))
    assert (await anext(seen)).status == SERVING
    async with asyncio.timeout(30):
        await served.server.drain(60)
    assert (await anext(seen)).status == NOT_SERVING


async def test_a_drain_does_not_wait_for_ever(served: Served, waiting: Waiting) -> None:
    """What has not finished in time is cancelled."""
    running = served.containers.ListContainers(ListContainersRequest(), metadata=OURS)
    await waiting.began.wait()
    async with asyncio.timeout(30):
        await served.server.drain(0.05)
        await waiting.gave_up.wait()
        with pytest.raises(grpc.aio.AioRpcError):
            await running


async def test_a_deadline_ends_the_work(served: Served, waiting: Waiting) -> None:
    """The caller's deadline cancels what it waits for, and the log says so."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.containers.ListContainers(ListContainersRequest(), metadata=OURS, timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(30):
        await waiting.gave_up.wait()
    await eventually(lambda: len(served.lines()) == 1)
    assert served.lines()[0]["status"] == "DEADLINE_EXCEEDED"
    assert len(served.log) == 1


async def test_a_caller_that_leaves_ends_the_work(served: Served, waiting: Waiting) -> None:
    """A call that is cancelled stops, is logged as such, and is nobody's error."""
    call = served.containers.ListContainers(ListContainersRequest(), metadata=OURS, timeout=60)
    await waiting.began.wait()
    call.cancel()
    async with asyncio.timeout(30):
        await waiting.gave_up.wait()
    await eventually(lambda: len(served.lines()) == 1)
    assert served.lines()[0]["status"] == "CANCELLED"
    assert len(served.log) == 1


def test_a_handler_never_runs_for_nobody() -> None:
    """A server that is put together without auth fails, instead of letting everybody in."""
    call = Call(None, Method("/x", OPERATIONS["ListContainers"]))  # type: ignore[arg-type] # no context is needed
    with pytest.raises(RuntimeError, match="before auth"):
        _ = call.caller


async def test_settings_must_be_acknowledged() -> None:
    """A client that does not acknowledge its limits within ten seconds is disconnected; one that does stays."""
    server = build_server({}, [])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    for acknowledges, (_, writer) in enumerate(connections):
        writer.write(beginning(acknowledges=bool(acknowledges)))
    silent, polite = (asyncio.ensure_future(reader.read()) for reader, _ in connections)
    await asyncio.wait_for(silent, SETTINGS_SECONDS + 5)
    assert not polite.done()
    for _, writer in connections:
        writer.close()
    await polite
    await server.stop(None)
