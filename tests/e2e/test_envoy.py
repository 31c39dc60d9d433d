"""Envoy as it is configured, before a stand-in: what it lets through, and what it makes of it."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio
from google.api import httpbody_pb2

from berth.rest.envoy.edge import EdgeSettings
from berth.v1 import container_file_service_pb2 as files
from berth.v1 import container_file_service_pb2_grpc as files_grpc
from berth.v1 import container_service_pb2 as containers
from berth.v1 import container_service_pb2_grpc as containers_grpc
from support.servers.stand_in import Edge, stand_in_behind_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTAINERS = "/v1/containers"
ORIGIN = "https://app.example"
JSON_BYTES = 16_777_216


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    folder = tmp_path_factory.mktemp("envoy")
    settings = EdgeSettings(cors_origins=(ORIGIN,), access_log_path=str(folder / "access.log"))
    async with stand_in_behind_envoy(folder / "run", settings) as edge:
        yield edge


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(edge: Edge) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=edge.rest, timeout=30) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(edge: Edge) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        yield channel


async def test_answer_is_plain_json(rest: httpx2.AsyncClient) -> None:
    """A success is 200, JSON with numbers and short names, and bears no header of gRPC's or Envoy's."""
    answer = await rest.post(CONTAINERS, json={"provider": "ollama", "name": "n"})
    assert answer.status_code == HTTPStatus.OK
    assert answer.json()["created_at"] == 4_294_967_295
    assert answer.json()["status"] == "running"
    assert answer.headers["content-type"] == "application/json"
    assert not [name for name in answer.headers if name.startswith(("grpc-", "x-envoy-", "server"))]


async def test_empty_list_is_printed(rest: httpx2.AsyncClient) -> None:
    """A page prints its empty data and its false has_more."""
    body = (await rest.get(CONTAINERS)).json()
    assert (body["data"], body["has_more"]) == ([], False)


async def test_request_id_is_kept(rest: httpx2.AsyncClient, edge: Edge) -> None:
    """The id that a caller gives reaches the service and comes back, with a refusal as well."""
    answer = await rest.get(f"{CONTAINERS}/c", headers={"x-request-id": "mine"})
    refusal = await rest.get("/v1/nothing", headers={"x-request-id": "mine"})
    assert edge.service.calls[-1]["x-request-id"] == "mine"
    assert (answer.headers["x-request-id"], refusal.headers["x-request-id"]) == ("mine", "mine")


async def test_facts_become_headers(rest: httpx2.AsyncClient) -> None:
    """The facts in the status message of a success become headers of Berth's own kinds, and no other."""
    ours = {
        "x-bifrost-provider": "ollama",
        "x-bifrost-upstream-latency-ms": "12",
        "x-ratelimit-remaining-requests": "5",
        "idempotent-replayed": "true",
    }
    others = {"set-cookie": "a", "location": "b", "x-evil": "c"}
    facts = ";".join(f"{name}={value}" for name, value in (ours | others).items())
    headers = (await rest.get(f"{CONTAINERS}/c", headers={"do-details": facts})).headers
    assert {name: headers.get(name) for name in ours} == ours
    assert not set(others) & set(headers)


@pytest.mark.parametrize("path", ["/openai/v1/containers/c", "/openai/containers/c"])
async def test_aliases_answer(rest: httpx2.AsyncClient, edge: Edge, path: str) -> None:
    """Each alias is the same operation, and the service is told the path that was asked for."""
    answer = await rest.get(path, headers={"x-envoy-original-path": "/v1/forged"})
    assert answer.json()["id"] == "c"
    assert edge.service.calls[-1]["x-envoy-original-path"] == path


@pytest.mark.parametrize(
    ("path", "seen"),
    [("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("a%5Cb", "a\\b"), ("%E6%97%A5", "日"), ("x" * 10_000, "x" * 10_000)],
)
async def test_id_arrives_whole(rest: httpx2.AsyncClient, path: str, seen: str) -> None:
    """An id is one segment, whatever is escaped in it, and reaches the service to be judged there."""
    assert (await rest.get(f"{CONTAINERS}/{path}")).json()["id"] == seen


async def test_large_answer_passes(rest: httpx2.AsyncClient) -> None:
    """An answer of 16 MiB passes; one over 20 MiB is a 500 with the envelope."""
    answer = await rest.get(CONTAINERS, headers={"do-bytes": str(JSON_BYTES)})
    assert len(answer.json()["data"][0]["name"]) == JSON_BYTES
    refused = await rest.get(CONTAINERS, headers={"do-bytes": str(22_020_096)})
    assert (refused.status_code, refused.json()["error"]["type"]) == (500, "api_error")


async def test_upload_has_no_limit_here(rest: httpx2.AsyncClient) -> None:
    """An upload larger than any JSON body is streamed through, with and without a known length."""
    size = JSON_BYTES + 1

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * size

    for content in (b"x" * size, pieces()):
        answer = await rest.post(f"{CONTAINERS}/c/files", content=content, headers={"content-type": "text/csv"})
        assert answer.json()["bytes"] == size


async def test_download_keeps_its_headers(rest: httpx2.AsyncClient) -> None:
    """A download has the type of the file, and the headers that the service sent."""
    answer = await rest.get(f"{CONTAINERS}/c/files/f/content?length=40")
    assert len(answer.content) == 40 * 65_536
    assert answer.headers["content-type"] == "text/csv"
    assert (answer.headers["etag"], answer.headers["content-disposition"]) == ('"e"', "attachment")


async def test_broken_download_is_seen_as_broken(rest: httpx2.AsyncClient, edge: Edge) -> None:
    """A download that the service breaks off is an error for its client, and for nobody else."""
    other = asyncio.create_task(rest.get(f"{CONTAINERS}/c", headers={"do-hold": "1"}))
    await asyncio.wait_for(edge.service.holding.wait(), 30)
    with pytest.raises(httpx2.RemoteProtocolError):
        await rest.get(f"{CONTAINERS}/c/files/f/content?length=2", headers={"do-break": "1"})
    edge.service.resume.set()
    assert (await other).status_code == HTTPStatus.OK


@pytest.mark.parametrize(
    ("name", "value"),
    [("grpc-timeout", "1n"), ("grpc-timeout", "x"), ("grpc-encoding", "bogus"), ("x-a-bin", "!"), ("x_a", "1")],
)
async def test_headers_of_grpc_are_dropped(rest: httpx2.AsyncClient, edge: Edge, name: str, value: str) -> None:
    """Headers with which grpc would refuse a call do not get there from REST, nor do those with underscores."""
    answer = await rest.post(CONTAINERS, json={"name": "n"}, headers={name: value})
    assert answer.status_code == HTTPStatus.OK
    assert name not in edge.service.calls[-1]


async def test_grpc_passes_untouched(channel: grpc.aio.Channel) -> None:
    """A gRPC call on the same port keeps its status, its message, and messages beyond the limit of JSON."""
    stub: Any = containers_grpc.ContainerServiceStub(channel)
    request = containers.RetrieveContainerRequest(container_id="c")
    assert (await stub.RetrieveContainer(request)).id == "c"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveContainer(request, metadata=(("do-abort", "NOT_FOUND"), ("x-a-bin", b"\x00")))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "bare")

    async def pieces() -> AsyncIterator[Any]:
        for _ in range(20):
            yield files.CreateContainerFileRequest(body=httpbody_pb2.HttpBody(data=b"x" * 1_048_576))

    uploads: Any = files_grpc.ContainerFileServiceStub(channel)
    assert (await uploads.CreateContainerFile(pieces())).bytes == 20_971_520


async def test_grpc_web_answers(rest: httpx2.AsyncClient) -> None:
    """A gRPC-Web call on the same port gets its message and its trailers."""
    message = containers.RetrieveContainerRequest(container_id="web").SerializeToString()
    answer = await rest.post(
        "/berth.v1.ContainerService/RetrieveContainer",
        content=b"\0" + struct.pack(">I", len(message)) + message,
        headers={"content-type": "application/grpc-web+proto"},
    )
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    assert b"web" in answer.content
    assert b"grpc-status:0" in answer.content


async def test_cors_is_for_named_origins(rest: httpx2.AsyncClient) -> None:
    """A browser of a named origin may ask and see the headers, refusals included; one of another may not."""
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    allowed = await rest.options(CONTAINERS, headers={"origin": ORIGIN, **asking})
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    refusal = await rest.get("/v1/nothing", headers={"origin": ORIGIN})
    assert "x-request-id" in refusal.headers["access-control-expose-headers"]
    other = await rest.options(CONTAINERS, headers={"origin": "https://other.example", **asking})
    assert "access-control-allow-origin" not in other.headers


async def test_access_log_has_no_secrets(tmp_path: Path) -> None:
    """Each request is one line of JSON with its path, and neither its query nor its key."""
    log = tmp_path / "access.log"
    settings = EdgeSettings(access_log_path=str(log))
    async with (
        stand_in_behind_envoy(tmp_path / "run", settings) as edge,
        httpx2.AsyncClient(base_url=edge.rest, timeout=30) as rest,
    ):
        answer = await rest.get(f"{CONTAINERS}?name=query-secret", headers={"authorization": "Bearer key-secret"})
    line = json.loads(log.read_text())
    assert (line["method"], line["path"], line["status"]) == ("GET", CONTAINERS, 200)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in log.read_text()
