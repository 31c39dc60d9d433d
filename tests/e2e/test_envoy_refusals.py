"""What Envoy refuses before a stand-in, and in which words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio
import structlog

from berth.launch.envoy.admin import EnvoyAdmin
from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings
from berth.v1 import container_service_pb2 as containers
from berth.v1 import container_service_pb2_grpc as containers_grpc
from support.clients.http2 import unread_gets
from support.servers.stand_in import Edge, assert_refused, stand_in_behind_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTAINERS = "/v1/containers"
SECONDS = {"1", "2", "3"}
"""What callers of a service that cannot be reached, or has too much to do, are told to wait."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    folder = tmp_path_factory.mktemp("envoy")
    async with stand_in_behind_envoy(folder / "run", EdgeSettings(access_log_path=None)) as edge:
        yield edge


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(edge: Edge) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=edge.rest, timeout=30) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lost(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of an Envoy whose service is lost with each request."""
    server = await asyncio.start_server(lose, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = EdgeSettings(access_log_path=None, rest_port=0, admin_socket=ADMIN_SOCKET, grpc_port=port)
    folder = tmp_path_factory.mktemp("lost") / "run"
    log = structlog.get_logger()
    async with (
        server,
        running_envoy(
            bootstrap(settings), folder, listener="rest", grace_seconds=1.0, json_log=False, log=log
        ) as envoy,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{envoy.port}", timeout=30) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=abc", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("limit=99999999999", "limit", "invalid_value"),
        ("limit=%22", "limit", "invalid_type"),
        ("limit=1&limit=2", "limit", "duplicate_parameter"),
        ("body.content_type=x", "body.content_type", "unknown_parameter"),
        ("status.x=1", "status", "unknown_parameter"),
        ("bogus=1", "bogus", "unknown_parameter"),
        ("limit.x=1", "limit", "unknown_parameter"),
        ("a%22b=1", "a%22b", "unknown_parameter"),
    ],
)
async def test_bad_query_is_refused(rest: httpx2.AsyncClient, query: str, param: str, code: str) -> None:
    """A query parameter that is unknown, given twice, or of the wrong type is a 400 that names it."""
    assert_refused(await rest.get(f"{CONTAINERS}?{query}"), 400, param=param, code=code)


@pytest.mark.parametrize("name", ["body.content_type", "body.data", "additional_fields.path"])
async def test_no_query_reaches_into_a_body(rest: httpx2.AsyncClient, name: str) -> None:
    """What the transcoder could set inside a request is no parameter unless it is documented."""
    answer = await rest.post(f"{CONTAINERS}/c/files?{name}=x", content=b"x", headers={"content-type": "text/plain"})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json()["error"]["code"] == "unknown_parameter"


async def test_wrong_values_are_echoed_only_when_short(rest: httpx2.AsyncClient) -> None:
    """A message repeats a short plain value, but neither a long one nor one that could break the answer."""
    refused = {"param": "limit", "code": "invalid_value"}
    answer = await rest.get(f"{CONTAINERS}?limit=99999999999")
    assert assert_refused(answer, 400, **refused) == "Invalid value for 'limit': '99999999999'."
    for value, code in (("9" * 65, "invalid_value"), ("%22%5C%22", "invalid_type"), ("%E6%97%A5", "invalid_type")):
        message = assert_refused(await rest.get(f"{CONTAINERS}?limit={value}"), 400, param="limit", code=code)
        assert value not in message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1"),
        ("GET", "/v1/nothing"),
        ("GET", f"/{CONTAINERS}"),
        ("GET", "/v1//containers"),
        ("GET", "/v1;a/containers"),
        ("POST", "/berth.v1.ContainerService/ListContainers"),
    ],
)
async def test_unknown_operation_is_not_found(rest: httpx2.AsyncClient, edge: Edge, method: str, path: str) -> None:
    """An unknown path, however near to a known one, is a 404 that clients do not repeat."""
    url = httpx2.URL(edge.rest).copy_with(raw_path=path.encode())
    assert_refused(await rest.request(method, url), 404, code="unknown_url")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", CONTAINERS, "GET, HEAD, POST"),
        ("OPTIONS", f"{CONTAINERS}?limit=1", "GET, HEAD, POST"),
        ("POST", f"{CONTAINERS}/c", "DELETE, GET, HEAD"),
        ("PATCH", f"/openai{CONTAINERS}/c/files/f", "DELETE, GET, HEAD"),
        ("DELETE", "/openai/files/f/content", "GET, HEAD"),
        ("HEAD", "/v1/files/f/content/x", None),
    ],
)
async def test_wrong_method_is_not_allowed(
    rest: httpx2.AsyncClient, method: str, path: str, allowed: str | None
) -> None:
    """A method that a known path does not have is a 405 that says which it has, in the envelope."""
    answer = await rest.request(method, path)
    assert answer.headers.get("allow") == allowed
    if allowed is not None:
        assert_refused(answer, 405, code="method_not_allowed")


async def test_headers_have_a_limit(rest: httpx2.AsyncClient) -> None:
    """30 KiB of headers pass, 33 are refused with 431; so are more than 100 headers."""
    assert (await rest.get(f"{CONTAINERS}/c", headers={"x-large": "x" * 30_720})).status_code == HTTPStatus.OK
    for headers in ({"x-large": "x" * 33_792}, {f"x-{number}": "1" for number in range(101)}):
        assert_refused(await rest.get(f"{CONTAINERS}/c", headers=headers), 431, code="headers_too_large")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/containers/c"])
async def test_nobody_waits_for_the_body_of_an_unknown_operation(edge: Edge, path: str) -> None:
    """A request that leads nowhere is answered while most of its body is still to come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n".encode() + b"x" * 65_536)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert head.split()[1] in {b"404", b"405"}
    writer.close()


async def test_a_body_streams_through(edge: Edge) -> None:
    """Envoy collects no body: the service sees a create before its body has ended, however large it will be."""
    before = len(edge.service.calls)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    head = f"POST {CONTAINERS} HTTP/1.1\r\nHost: x\r\ndo-abort: NOT_FOUND\r\nContent-Length: 40000000\r\n\r\n"
    writer.write(head.encode() + b"x" * 65_536)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert answer.split()[1] == b"404"
    assert len(edge.service.calls) == before + 1
    writer.close()


@pytest.mark.parametrize("kind", ["application/grpcx", "application/grpc-x", "application/grpc;x", "text/plain"])
async def test_no_type_gets_around_the_envelope(rest: httpx2.AsyncClient, kind: str) -> None:
    """The envelope holds for every content type that is not exactly one of gRPC's."""
    assert_refused(await rest.get("/v1/nothing", headers={"content-type": kind}), 404, code="unknown_url")


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        ("INTERNAL", 500, None),
        ("UNIMPLEMENTED", 501, None),
        ("UNAVAILABLE", 503, "service_unavailable"),
        ("DEADLINE_EXCEEDED", 504, "request_timed_out"),
        ("RESOURCE_EXHAUSTED", 429, "rate_limited"),
        ("INVALID_ARGUMENT", 400, None),
    ],
)
async def test_bare_refusal_gets_the_envelope(
    rest: httpx2.AsyncClient, refusal: str, status: int, code: str | None
) -> None:
    """A refusal without details, as grpc makes them by itself, is the envelope all the same."""
    answer = await rest.get(f"{CONTAINERS}/c", headers={"do-abort": refusal})
    assert "bare" not in assert_refused(answer, status, code=code)


async def test_a_call_that_the_service_ends_may_be_repeated(rest: httpx2.AsyncClient) -> None:
    """A service that stops cancels calls. Nobody repeats a 499, so it is a 503 that says when to try again."""
    answer = await rest.get(f"{CONTAINERS}/c", headers={"do-abort": "CANCELLED"})
    assert_refused(answer, 503, code="service_unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_service_that_is_down(tmp_path: Path) -> None:
    """Without a service REST gets a 503 with the envelope, and gRPC UNAVAILABLE in plain words, both with a time."""
    async with stand_in_behind_envoy(tmp_path / "run", EdgeSettings(access_log_path=None)) as edge:
        await edge.server.stop(None)
        async with httpx2.AsyncClient(base_url=edge.rest, timeout=30) as client:
            answer = await client.get(f"{CONTAINERS}/c")
        assert_refused(answer, 503, code="service_unavailable")
        assert answer.headers["retry-after"] in SECONDS
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
            stub: Any = containers_grpc.ContainerServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListContainers(containers.ListContainersRequest())
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "{" not in str(caught.value.details())
    assert dict(caught.value.trailing_metadata() or ())["retry-after"] in SECONDS


async def lose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a request, and end the connection, as a service does that is killed."""
    await reader.read(1)
    writer.close()


@pytest.mark.parametrize(
    ("method", "path", "key", "repeats"),
    [
        ("POST", CONTAINERS, None, False),
        ("POST", f"{CONTAINERS}/c/execs", None, False),
        ("POST", CONTAINERS, "once", True),
        ("GET", CONTAINERS, None, True),
        ("DELETE", f"{CONTAINERS}/c", None, True),
    ],
)
async def test_what_a_lost_service_may_have_done(
    lost: httpx2.AsyncClient, method: str, path: str, key: str | None, *, repeats: bool
) -> None:
    """SDKs are asked not to repeat a POST that may have been executed, unless it has an idempotency key."""
    headers = {"idempotency-key": key} if key else {}
    answer = await lost.request(method, path, headers=headers, json={} if method == "POST" else None)
    assert_refused(answer, 503, code="service_unavailable")
    assert (answer.headers.get("retry-after") in SECONDS) is repeats
    assert answer.headers.get("x-should-retry") == (None if repeats else "false")


async def test_a_full_heap_is_counted(tmp_path: Path) -> None:
    """Once the heap of Envoy is full, a request is refused for some seconds, which it counts."""
    settings = EdgeSettings(access_log_path=None, max_heap_bytes=1_000_000)
    async with stand_in_behind_envoy(tmp_path / "run", settings) as full, httpx2.AsyncClient(timeout=30) as client:
        async with asyncio.timeout(30):
            answer = await client.get(f"{full.rest}{CONTAINERS}")
            while answer.is_success:  # Envoy looks four times a second
                answer = await client.get(f"{full.rest}{CONTAINERS}")
        assert assert_refused(answer, 503, code="service_unavailable") == "The service is busy."
        assert answer.headers["retry-after"] in SECONDS
        refusals = await asyncio.to_thread(EnvoyAdmin(tmp_path / "run" / ADMIN_SOCKET).refusals)
    assert refusals == {"requests": 0, "connections": 0, "memory": 1}


MEBIBYTE = 1024 * 1024
HTTP_1 = f"GET {CONTAINERS} HTTP/1.1\r\nhost: b\r\ndo-bytes: {4 * MEBIBYTE}\r\n\r\n".encode()
HTTP_2 = unread_gets(CONTAINERS, 20, (b"do-bytes", str(4 * MEBIBYTE).encode()))
SMALLER = unread_gets(CONTAINERS, 100, (b"do-bytes", str(900 * 1024).encode()))
HEAP_BYTES = 150 * MEBIBYTE


@pytest.mark.parametrize(
    ("request_", "connections", "enough"),
    [(HTTP_1, 60, 40), (HTTP_2, 3, 40), (SMALLER, 3, 180)],
    ids=["HTTP/1", "HTTP/2", "smaller"],
)
async def test_answers_that_are_not_read_are_given_up(
    tmp_path: Path, request_: bytes, connections: int, enough: int
) -> None:
    """Clients that leave `enough` answers unread to fill the heap keep others from being served for some seconds."""
    settings = EdgeSettings(access_log_path=None, max_heap_bytes=HEAP_BYTES)
    async with (
        stand_in_behind_envoy(tmp_path / "run", settings) as edge,
        httpx2.AsyncClient(base_url=edge.rest, timeout=30) as client,
        AsyncExitStack() as stack,
    ):
        for _ in range(connections):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1)
            stack.push_async_callback(closed, writer)
            reader._transport.pause_reading()  # type: ignore[attr-defined] # so that not even its buffer is filled
            writer.write(request_)
        async with asyncio.timeout(60):
            served = 0
            while (await client.get(CONTAINERS)).is_success and served < enough:
                served = sum("do-bytes" in call for call in edge.service.calls)
            served = 0
            while served < 500:  # which takes longer than the time between two looks of Envoy at its heap
                served = served + 1 if (await client.get(CONTAINERS)).is_success else 0


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_too_many_calls_at_a_time(tmp_path: Path) -> None:
    """What is beyond the limit is told to come back after one of several times; commands and transfers are apart."""
    settings = EdgeSettings(access_log_path=None, max_calls=1)
    async with stand_in_behind_envoy(tmp_path / "run", settings) as edge, httpx2.AsyncClient(timeout=60) as client:

        async def get(_: int) -> httpx2.Response:
            return await client.get(f"{edge.rest}{CONTAINERS}")

        async def run(_: int) -> httpx2.Response:
            return await client.post(f"{edge.rest}{CONTAINERS}/c/execs", json={"command": "true"})

        refused: list[httpx2.Response] = []
        async with asyncio.timeout(60):
            while {answer.headers["retry-after"] for answer in refused} != SECONDS:
                answers = await asyncio.gather(*map(get, range(64)))
                assert any(answer.is_success for answer in answers)
                refused += [answer for answer in answers if not answer.is_success]
        for answer in refused:
            assert assert_refused(answer, 503, code="service_unavailable") == "The service is busy."
        assert 503 not in {answer.status_code for answer in await asyncio.gather(*map(run, range(64)))}


async def test_health_is_answered_while_too_many_calls_run(tmp_path: Path) -> None:
    """A balancer must not take a busy Berth for a dead one: requests for the health do not count with others."""
    settings = EdgeSettings(access_log_path=None, max_calls=1)
    async with stand_in_behind_envoy(tmp_path / "run", settings) as edge, httpx2.AsyncClient(timeout=30) as client:
        held = asyncio.create_task(client.get(f"{edge.rest}{CONTAINERS}/c", headers={"do-hold": "1"}))
        await edge.service.holding.wait()
        assert_refused(await client.get(f"{edge.rest}{CONTAINERS}"), 503, code="service_unavailable")
        answers = [await client.get(f"{edge.rest}/{path}") for path in ("healthz", "readyz")]
        edge.service.resume.set()
        assert (await held).is_success
    assert [answer.status_code for answer in answers] == [HTTPStatus.NOT_IMPLEMENTED] * 2  # by the stand-in
