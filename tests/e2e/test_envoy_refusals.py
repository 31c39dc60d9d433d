"""What Envoy refuses before a stand-in, and in which words."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio

from berth.rest.edge import EdgeSettings
from berth.v1 import container_service_pb2 as containers
from berth.v1 import container_service_pb2_grpc as containers_grpc
from stand_in import Edge, assert_refused, stand_in_behind_envoy

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTAINERS = "/v1/containers"
JSON_BYTES = 16_777_216


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    folder = tmp_path_factory.mktemp("envoy")
    async with stand_in_behind_envoy(folder / "run", EdgeSettings(access_log_path=None)) as edge:
        yield edge


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rest(edge: Edge) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=edge.rest, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ("", None, None),
        ('{"name":', None, "invalid_json"),
        ('{"name":"n"} x', None, "invalid_json"),
        (b'{"name":"\xff"}', None, "invalid_json"),
        ("{" * 500, None, "invalid_json"),
        ("[]", None, "invalid_type"),
        ("null", None, "invalid_type"),
        ('{"name":5}', "name", "invalid_type"),
        ('{"name":{}}', "name", "invalid_type"),
        ('{"name":[]}', None, "invalid_type"),
        ('{"expires_after":{"minutes":"soon"}}', "expires_after.minutes", "invalid_type"),
        ('{"expires_after":{"minutes":1.5}}', "expires_after.minutes", "invalid_type"),
        ('{"expires_after":{"minutes":{}}}', "expires_after.minutes", "invalid_type"),
        ('{"expires_after":{"minutes":1e10}}', "expires_after.minutes", "invalid_value"),
        ('{"expires_after":"x"}', "expires_after", "invalid_value"),
        ('{"provider":"nope"}', "provider", "invalid_value"),
        ('{"metadata":{"a":1}}', "metadata", "invalid_type"),
        ('{"metadata":[]}', "metadata", "invalid_type"),
        ('{"metadata":{"a":"1","a":"2"}}', "metadata", "invalid_value"),
        ('{"file_ids":[5]}', "file_ids[0]", "invalid_type"),
        (
            '{"network_policy":{"domain_secrets":[{"value":5}]}}',
            "network_policy.domain_secrets[0].value",
            "invalid_type",
        ),
    ],
)
async def test_bad_body_is_refused(
    rest: httpx2.AsyncClient, edge: Edge, body: str | bytes, param: str | None, code: str | None
) -> None:
    """A body that is no JSON object of the right types is a 400 that names what is wrong; an empty one is {}."""
    before = len(edge.service.calls)
    answer = await rest.post(CONTAINERS, content=body, headers={"content-type": "application/json"})
    if not body:
        assert answer.json()["name"] == "0"
        return
    assert_refused(answer, 400, param=param, code=code)
    assert len(edge.service.calls) == before


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=abc", "limit", "invalid_type"),
        ("limit=", "limit", "invalid_type"),
        ("limit=99999999999", "limit", "invalid_value"),
        ("limit=%22", "limit", "invalid_type"),
        ("limit=1&limit=2", "limit", "duplicate_parameter"),
        ("provider=nope", "provider", "invalid_value"),
        ("bogus=1", "bogus", "unknown_parameter"),
        ("limit.x=1", "limit", "unknown_parameter"),
        ("a%22b=1", "a%22b", "unknown_parameter"),
    ],
)
async def test_bad_query_is_refused(rest: httpx2.AsyncClient, query: str, param: str, code: str) -> None:
    """A query parameter that is unknown, given twice, or of the wrong type is a 400 that names it."""
    assert_refused(await rest.get(f"{CONTAINERS}?{query}"), 400, param=param, code=code)


async def test_wrong_values_are_echoed_only_when_short(rest: httpx2.AsyncClient) -> None:
    """A message repeats a short plain value, but neither a long one nor one that could break the answer."""
    assert assert_refused(
        await rest.get(f"{CONTAINERS}?provider=nope"), 400, param="provider", code="invalid_value"
    ) == ("Invalid value for 'provider': 'nope'.")
    for value in ("x" * 65, "%22%5C%22", "%E6%97%A5"):
        answer = await rest.get(f"{CONTAINERS}?provider={value}")
        assert assert_refused(answer, 400, param="provider", code="invalid_value") == "Invalid value for 'provider'."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/nothing"),
        ("PUT", CONTAINERS),
        ("POST", f"{CONTAINERS}/c"),
        ("OPTIONS", CONTAINERS),
        ("GET", f"{CONTAINERS}//files/f"),
        ("GET", f"{CONTAINERS}/.."),
        ("POST", "/berth.v1.ContainerService/ListContainers"),
    ],
)
async def test_unknown_operation_is_not_found(rest: httpx2.AsyncClient, method: str, path: str) -> None:
    """An unknown path, or a method that a path does not have, is a 404 that clients do not repeat."""
    assert_refused(await rest.request(method, path), 404, code="unknown_url")


async def test_nul_in_path_is_refused(rest: httpx2.AsyncClient) -> None:
    """A NUL in the path is a 400."""
    assert_refused(await rest.get(f"{CONTAINERS}/a%00b"), 400)


async def test_headers_have_a_limit(rest: httpx2.AsyncClient) -> None:
    """30 KiB of headers pass, 33 are refused with 431; so are more than 100 headers."""
    assert (await rest.get(f"{CONTAINERS}/c", headers={"x-large": "x" * 30_720})).status_code == HTTPStatus.OK
    for headers in ({"x-large": "x" * 33_792}, {f"x-{number}": "1" for number in range(101)}):
        assert_refused(await rest.get(f"{CONTAINERS}/c", headers=headers), 431, code="headers_too_large")


async def test_json_body_has_a_limit(rest: httpx2.AsyncClient, edge: Edge) -> None:
    """A JSON body of 16 777 216 bytes passes, one byte more is a 400 that never reaches the service."""
    name = "x" * (JSON_BYTES - len('{"name":""}'))
    assert (await rest.post(CONTAINERS, content=f'{{"name":"{name}"}}')).json()["name"] == str(len(name))
    before = len(edge.service.calls)
    answer = await rest.post(CONTAINERS, content=f'{{"name":"{name}x"}}')
    assert_refused(answer, 400, code="request_too_large")
    assert len(edge.service.calls) == before


@pytest.mark.parametrize("kind", ["application/grpcx", "application/grpc-x", "application/grpc;x", "text/plain"])
async def test_no_type_gets_around_the_limit(rest: httpx2.AsyncClient, kind: str) -> None:
    """The limit and the envelope hold for every content type that is not exactly one of gRPC's."""
    answer = await rest.post(CONTAINERS, content=b" " * (JSON_BYTES + 1), headers={"content-type": kind})
    assert_refused(answer, 400, code="request_too_large")
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


async def test_service_that_is_down(tmp_path: Path) -> None:
    """Without a service REST gets a 503 with the envelope, and gRPC UNAVAILABLE in plain words."""
    async with stand_in_behind_envoy(tmp_path / "run", EdgeSettings(access_log_path=None)) as edge:
        await edge.server.stop(None)
        async with httpx2.AsyncClient(base_url=edge.rest) as client:
            assert_refused(await client.get(f"{CONTAINERS}/c"), 503, code="service_unavailable")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
            stub: Any = containers_grpc.ContainerServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListContainers(containers.ListContainersRequest())
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "{" not in str(caught.value.details())
