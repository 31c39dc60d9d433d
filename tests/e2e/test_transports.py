"""What callers see is the same, whether Envoy calls the service over HTTP/2 or over HTTP/1.1."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.clients.http2 import raw_call
from support.servers.berth import KEY_A, Berth

KEY = (("authorization", f"Bearer {KEY_A}"),)
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
VARYING = re.compile(r"(cntr|cfile|file|req)_?[0-9a-f]{24,}|[0-9a-f]{32}-|[0-9a-f-]{36}|\d{10}|\"latency\":\d+")
UNSTABLE = {"date", "last-modified", "connection"}
"""The last one says whether Envoy had read a refused body completely."""


@dataclass(frozen=True)
class Asked:
    """A request in terms of a container `C` and a file `F` in it."""

    method: str
    path: str
    headers: Mapping[str, str]
    content: bytes | None = None


def asked(method: str, path: str, content: bytes | None = None, **headers: str) -> Asked:
    return Asked(method, path, {name.replace("_", "-"): text for name, text in headers.items()}, content)


REQUESTS = [
    asked("POST", "/v1/containers", b'{"name": "a"}', content_type="application/json"),
    asked("POST", "/v1/containers", b'{"name": "a", "nam": 1}', content_type="application/json"),
    asked("POST", "/v1/containers", b"{", content_type="application/json"),
    asked("POST", "/v1/containers", b"x" * 2_000_000, content_type="application/json"),
    asked("GET", "/v1/containers/C"),
    asked("HEAD", "/v1/containers/C"),
    asked("GET", "/v1/containers/none"),
    asked("GET", "/v1/containers/C?no=1"),
    asked("GET", "/v1/containers/C/"),
    asked("PUT", "/v1/containers/C"),
    asked("GET", "/v1/containers/C", authorization="Bearer sk-bf-wrong"),
    asked("GET", "/v1/containers/C/files"),
    asked("GET", "/v1/containers/C/files/F"),
    asked("GET", "/v1/containers/C/files/F/content"),
    asked("HEAD", "/v1/containers/C/files/F/content"),
    asked("GET", "/v1/containers/C/files/F/content", range="bytes=1-2"),
    asked("GET", "/v1/containers/C/files/F/content", range="bytes=90-"),
    asked("GET", "/v1/containers/C/files/F/content", if_none_match="*"),
    asked("DELETE", "/v1/containers/C/files/F", if_match='"other"'),
    asked("POST", "/v1/containers/C/files?filename=raw", b"bytes", content_type="text/plain"),
    asked("POST", "/v1/containers/C/files", b"--b\r\nno form", content_type="multipart/form-data; boundary=b"),
    asked("POST", "/v1/containers/C/files", b"", content_type="text/plain", content_length="0"),
    asked("POST", "/v1/containers/C/files", b"x" * 300_000, content_type="text/plain", content_encoding="gzip"),
    asked("GET", "/v1/files/file_none"),
    asked("GET", "/nowhere"),
]


class Caller:
    """A client of a Berth, with a container and a file."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client
        self.container = client.post("/v1/containers", json={"name": "home", "provider": "ollama"}).json()["id"]
        form = {"file": ("f.txt", b"content", "text/plain")}
        self.file = client.post(f"/v1/containers/{self.container}/files", files=form).json()["id"]

    def ask(self, request: Asked) -> tuple[int, dict[str, str], str]:
        """Return the answer without what differs from one call to the next."""
        path = request.path.replace("/C", f"/{self.container}").replace("/F", f"/{self.file}")
        answer = self._client.request(request.method, path, headers=request.headers, content=request.content)
        headers = {name: VARYING.sub("…", value) for name, value in answer.headers.items() if name not in UNSTABLE}
        if '"latency":' in answer.text:
            headers.pop("content-length")  # the latency may have another digit
        return answer.status_code, headers, VARYING.sub("…", answer.text)


@pytest.fixture(scope="module")
def callers(hosted: Berth, over_grpc: Berth) -> Iterator[list[Caller]]:
    """Return a caller of each Berth."""
    authorization = {"authorization": f"Bearer {KEY_A}"}
    with (
        httpx2.Client(base_url=hosted.rest, headers=authorization, timeout=60) as one,
        httpx2.Client(base_url=over_grpc.rest, headers=authorization, timeout=60) as other,
    ):
        yield [Caller(one), Caller(other)]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request.method} {request.path}")
def test_answers_are_the_same(callers: list[Caller], request_: Asked) -> None:
    """Status, headers and body of an answer do not depend on the transport."""
    over_http1, over_grpc = (caller.ask(request_) for caller in callers)
    assert over_http1 == over_grpc


@pytest.fixture(params=["hosted", "over_grpc"])
async def channel(request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """Return a channel to the port of Envoy."""
    berth: Berth = request.getfixturevalue(request.param)
    async with grpc.aio.insecure_channel(urlsplit(berth.rest).netloc) as channel:
        yield channel


async def test_reflection_answers_question_by_question(channel: grpc.aio.Channel) -> None:
    """A stream in both directions works through Envoy: each answer arrives before the next question is asked."""
    ask: Any = channel.stream_stream(
        REFLECTION, ServerReflectionRequest.SerializeToString, ServerReflectionResponse.FromString
    )
    call = ask()
    for _ in range(3):
        await call.write(ServerReflectionRequest(list_services=""))
        services = {service.name for service in (await call.read()).list_services_response.service}
        assert "berth.v1.ContainerService" in services
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_health_is_watched(channel: grpc.aio.Channel) -> None:
    """A watch reports the state at once, and lasts until its caller leaves."""
    watch: Any = channel.unary_stream(
        "/grpc.health.v1.Health/Watch", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    call = watch(HealthCheckRequest())
    assert (await call.read()).status == HealthCheckResponse.SERVING
    assert not call.done()
    call.cancel()
    check: Any = channel.unary_unary(
        "/grpc.health.v1.Health/Check", HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
    )
    assert (await check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(HealthCheckRequest(service="none"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_native_calls_get_their_metadata(channel: grpc.aio.Channel) -> None:
    """A call of gRPC, also a compressed one, has its headers behind the response, and none in its status message."""
    stub = ContainerServiceStub(channel)
    create = CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="x" * 200)
    call = stub.CreateContainer(
        create, metadata=(*KEY, ("x-request-id", "mine"), ("a-bin", b"\xff")), compression=grpc.Compression.Gzip
    )
    container = await call
    assert len(container.name) == 200
    trailing = dict(await call.trailing_metadata())
    assert (trailing["x-request-id"], trailing["x-bifrost-request-type"]) == ("mine", "container_create")
    assert (await call.code(), await call.details()) == (grpc.StatusCode.OK, "")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveContainer(RetrieveContainerRequest(container_id="cntr_é"), metadata=KEY)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "grpc-status-details-bin" in dict(caught.value.trailing_metadata() or ())
    unknown: Any = channel.unary_unary("/berth.v1.ContainerService/None")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await unknown(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("transport", ["hosted", "over_grpc"])
async def test_a_bad_header_of_one_call_does_not_harm_others(transport: str, request: pytest.FixtureRequest) -> None:
    """A deadline or a compression that cannot be read fails its own call at most, and none of another caller."""
    berth: Berth = request.getfixturevalue(transport)
    address = urlsplit(berth.rest)
    method = "/berth.v1.ContainerService/ListContainers"
    for _ in range(8):  # Envoy may have several connections to the service
        await raw_call(address.port or 0, method, (b"grpc-timeout", b"bad"))
        await raw_call(address.port or 0, method, (b"grpc-encoding", b"br"))
    async with grpc.aio.insecure_channel(address.netloc) as channel:
        stub = ContainerServiceStub(channel)
        for seconds in range(30, 38):
            call = stub.ListContainers(
                ListContainersRequest(), metadata=KEY, timeout=seconds, compression=grpc.Compression.Gzip
            )
            assert (await call).object == "list"
