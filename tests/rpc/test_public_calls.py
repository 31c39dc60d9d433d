"""Health and reflection: what callers without a credential may do, and what they may not."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.core.routing.unsupported import UnsupportedBackend
from berth.rpc.peer import NO_TRUST
from berth.rpc.public_calls import PublicCalls
from berth.rpc.reflection import reflection_servicer
from berth.rpc.transports.grpcio.server import CallLimit, GrpcRoutes
from berth.v1.provider_pb2 import Provider
from support.servers.service import Served, eventually, serving

WATCH, CHECK = "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(UnsupportedBackend(Provider.PROVIDER_GROQ)) as served:
        yield served


def open_call(
    channel: grpc.aio.Channel, method: str, requests: AsyncIterator[bytes]
) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
    """Begin a call that sends `requests` as they are."""
    stub: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return stub(requests, timeout=60)


async def status_of(served: Served, method: str, message: bytes) -> grpc.StatusCode:
    """Send one message to a method and return the status of the call."""
    return await open_call(served.channel, method, _once(message)).code()


@pytest.mark.parametrize("method", [WATCH, CHECK, REFLECT])
@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x0a\x88\x27" + b"a" * 5_000], ids=["garbage", "large"])
async def test_what_is_no_small_request_is_refused(served: Served, method: str, message: bytes) -> None:
    """A malformed request, or one of more than 4096 bytes, is the caller's mistake and no error of the log."""
    assert await status_of(served, method, message) == grpc.StatusCode.INVALID_ARGUMENT
    assert [line for line in served.lines() if line["log_level"] == "error"] == []


async def test_watches_are_limited() -> None:
    """An address may have 64 watches; more are refused at once, while checks and other calls are served."""
    metrics = PrometheusMetrics()
    async with serving(UnsupportedBackend(Provider.PROVIDER_GROQ), metrics=metrics) as served:
        stub: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = served.channel.unary_stream(WATCH)
        watches = [stub(b"") for _ in range(70)]
        await eventually(lambda: sum(watch.done() for watch in watches) == 6)
        assert {await watch.code() for watch in watches if watch.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        check = served.channel.unary_unary(CHECK, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString)
        assert (await check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        for watch in watches:
            watch.cancel()
        await eventually(lambda: all(watch.done() for watch in watches))
    assert metrics.value("berth_calls_limited_total", limit="health") == 6


async def test_calls_without_a_request_are_few(served: Served) -> None:
    """An address may have two calls whose request has not arrived: each may hold a whole message."""
    calls = [open_call(served.channel, REFLECT, _silence()) for _ in range(4)]
    await eventually(lambda: sum(call.done() for call in calls) == 2)
    for call in calls:
        call.cancel()


async def test_a_request_must_come_soon() -> None:
    """A call whose request does not arrive is ended."""
    public = PublicCalls(health.HealthServicer(), reflection_servicer([]), trust=NO_TRUST, read_seconds=0.2)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([GrpcRoutes(public.routes(), CallLimit())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert await open_call(channel, WATCH, _silence()).code() == grpc.StatusCode.INVALID_ARGUMENT
    await server.stop(None)


async def test_callers_without_a_key_are_refused_by_their_metadata(served: Served) -> None:
    """A call that sends nothing but its headers is answered at once, and so does not hold a place."""
    calls = [open_call(served.channel, "/berth.v1.ContainerService/ListContainers", _silence()) for _ in range(100)]
    assert {await call.code() for call in calls} == {grpc.StatusCode.UNAUTHENTICATED}


async def _silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def _once(message: bytes) -> AsyncIterator[bytes]:
    yield message
