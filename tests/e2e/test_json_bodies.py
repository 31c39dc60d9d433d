"""JSON bodies through Envoy: what is read, what is refused and by which place, and what goes on to a provider."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import orjson
import pytest
from google.protobuf.struct_pb2 import Value

from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.clients.envelope import expect
from support.providers.scripted import CONTAINER, FILE, Provided, answer, providing
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth
from support.servers.chain import everywhere, gateway, passing_to

JSON = {"content-type": "application/json"}
KEY = (("authorization", f"Bearer {KEY_A}"),)
NAMED = {"provider": "ollama", "name": "json"}
MIB = 1_048_576


def create(client: httpx2.Client, body: object, path: str = "/v1/containers", **headers: str) -> httpx2.Response:
    """Send a body, bytes as they are and all else as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return client.post(path, content=content, headers=JSON | headers)


@everywhere
@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b'{"name": "a"} x', None, "invalid_json"),
        (b"{" * 500, None, "invalid_json"),
        (b'{"name": "a", "x": [' + b"1," * 10_000 + b"1]}", None, "request_too_large"),
        (b'\xef\xbb\xbf{"name": "a"}', None, "invalid_json"),
        ('{"name": "a"}'.encode("utf-16"), None, "invalid_json"),
        (b'{"name": "a", "x": NaN}', None, "invalid_json"),
        ([], None, "invalid_type"),
        (b"null", None, "invalid_type"),
        (NAMED | {"name": ["n"]}, "name", "invalid_type"),
        (NAMED | {"provider": 3}, "provider", "invalid_type"),
        (NAMED | {"provider": "deepseek"}, "provider", "invalid_value"),
        (
            NAMED | {"expires_after": {"anchor": "last_active_at", "minutes": "20"}},
            "expires_after.minutes",
            "invalid_type",
        ),
        (NAMED | {"file_ids": ["a", None]}, "file_ids[1]", "invalid_type"),
        (NAMED | {"metadata": {"a": None}}, "metadata.a", "invalid_type"),
        (NAMED | {"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
        (NAMED | {"network_policy": {"type": 2}}, "network_policy.type", "invalid_type"),
        (b'{"provider": "ollama", "name": "a", "name": "b"}', "name", "duplicate_parameter"),
        (b'{"provider": "ollama", "name": "a", "x": {"y": [{"z": 1, "z": 1}]}}', "x.y[0].z", "duplicate_parameter"),
        (NAMED | {"x": 2**53 + 1}, "x", "invalid_value"),
    ],
)
def test_what_is_no_request_is_refused(client: httpx2.Client, body: object, param: str | None, code: str) -> None:
    """Whoever keeps the container, a body that cannot be read is a 400 that names the place, and makes nothing."""
    before = client.get("/v1/containers?name=json").json()["data"]
    expect(create(client, body), 400, param, code)
    assert client.get("/v1/containers?name=json").json()["data"] == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (NAMED | {"expire_after": {}}, "Unknown parameter: 'expire_after'; did you mean 'expires_after'?"),
        (NAMED | {"memory_limits": "1g"}, "Unknown parameter: 'memory_limits'; did you mean 'memory_limit'?"),
        (NAMED | {"skills": [{"id": 1}]}, "Unknown parameter: 'skills[0].id'."),
        (NAMED | {"additional_fields": []}, "Unknown parameter: 'additional_fields'."),
    ],
)
def test_a_misspelt_field_is_refused(client: httpx2.Client, body: object, message: str) -> None:
    """Berth keeps no container that is other than it was meant: it names the field and the nearest one there is."""
    response = create(client, body)
    expect(response, 400, message.split("'")[1], "unknown_parameter")
    assert response.json()["error"]["message"] == message


def test_null_is_absence(client: httpx2.Client) -> None:
    """A null for an optional field asks for its default."""
    nulls = dict.fromkeys(["expires_after", "file_ids", "memory_limit", "metadata", "network_policy", "skills"])
    container = create(client, NAMED | nulls).json()
    assert (container["memory_limit"], container["expires_after"]["minutes"]) == ("1g", 20)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/jsonx"],
)
def test_the_type_of_a_body_must_be_json(client: httpx2.Client, content_type: str) -> None:
    """Another type or charset, or none, is a 415 that says what to send."""
    headers = {"content-type": content_type} if content_type else {}
    response = client.post("/v1/containers", content=orjson.dumps(NAMED), headers=headers)
    expect(response, 415, None, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", 'Application/JSON;charset="UTF8"'])
def test_json_may_say_its_charset(client: httpx2.Client, content_type: str) -> None:
    """UTF-8 is what JSON is in, and may be said."""
    assert create(client, NAMED, **{"content-type": content_type}).status_code == 200


def test_compressed_bodies_are_refused(client: httpx2.Client) -> None:
    """A body is read as it is."""
    expect(create(client, gzip.compress(orjson.dumps(NAMED)), **{"content-encoding": "gzip"}), 400, "Content-Encoding")


def test_the_limit_of_a_body(client: httpx2.Client) -> None:
    """A JSON body of 1 048 576 bytes is read; one byte more is a 400, whether or not its length is known."""
    body = orjson.dumps(NAMED)
    assert create(client, body.ljust(MIB)).status_code == 200
    expect(create(client, body.ljust(MIB + 1)), 400, None, "request_too_large")

    def pieces() -> Iterator[bytes]:
        yield body
        yield b" " * (MIB - len(body) + 1)

    response = client.post("/v1/containers", content=pieces(), headers=JSON)
    expect(response, 400, None, "request_too_large")


def test_a_body_in_pieces_is_read(client: httpx2.Client) -> None:
    """However a body is cut, with or without a length, it is one body."""

    def pieces() -> Iterator[bytes]:
        for byte in orjson.dumps(NAMED | {"metadata": {"a": "日本"}}):
            yield bytes([byte])

    assert client.post("/v1/containers", content=pieces(), headers=JSON).json()["metadata"] == {"a": "日本"}


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_nobody_is_read_who_is_not_known(hosted: Berth, method: str) -> None:
    """A body without a key, however long it will be, is answered with 401 before its second byte."""
    where = urlsplit(hosted.rest)
    for length in ("Content-Length: 14000000", "Transfer-Encoding: chunked"):
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        lines = (f"{method} /v1/containers HTTP/1.1", "Host: x", "Content-Type: application/json", length, "", "")
        writer.write("\r\n".join(lines).encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert head.split()[1] == b"401"
        assert b"\r\nwww-authenticate: Bearer" in head
        writer.close()


@pytest.mark.parametrize(
    ("query", "body", "param"),
    [
        ("provider=groq", {"provider": "ollama", "name": "x"}, "provider"),
        ("provider=deepseek", {"name": "x"}, "provider"),
        ("provider=3", {"name": "x"}, "provider"),
        ("body.content_type=x", {"name": "x"}, "body.content_type"),
        ("name=x", {"provider": "ollama"}, "name"),
    ],
)
def test_a_query_beside_a_body(client: httpx2.Client, query: str, body: object, param: str) -> None:
    """A query may name the provider, and must not contradict the body; it may say nothing else."""
    expect(create(client, body, f"/v1/containers?{query}"), 400, param)


def test_the_provider_may_be_in_the_query(client: httpx2.Client) -> None:
    """`?provider=` is as good as a field, alone or beside an equal one; an empty one asks for the default."""
    for query, body, provider in (
        ("provider=groq", {"name": "x"}, "groq"),
        ("provider=groq", {"name": "x", "provider": "groq"}, "groq"),
        ("provider=", {"name": "x"}, "ollama"),
    ):
        assert create(client, body, f"/v1/containers?{query}").json()["provider"] == provider
    assert create(client, {"name": "x"}, "/openai/v1/containers").json()["provider"] == "openai"
    assert create(client, NAMED, "/openai/v1/containers").json()["provider"] == "ollama"


def test_the_service_behind_json_bodies_lets_nobody_in(hosted: Berth) -> None:
    """Who calls the internal service over gRPC needs a key as everywhere, and gets what REST callers get."""
    for target in (hosted.grpc, urlsplit(hosted.rest).netloc):
        with grpc.insecure_channel(target) as channel:
            call: Any = channel.stream_unary("/berth.rest.JsonBodies/CreateContainer")
            with pytest.raises(grpc.RpcError) as caught:
                call(iter([b""]), timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            with pytest.raises(grpc.RpcError) as caught:
                call(iter([b""]), metadata=(("authorization", "Bearer sk-bf-only-groq"),), timeout=30)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def provider() -> Iterator[Provided]:
    """Run a provider that says what it was asked."""
    with in_background(providing()) as provided:
        yield provided


@pytest.fixture(scope="module")
def passing(provider: Provided, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a gateway before it."""
    settings = passing_to(f"http://127.0.0.1:{provider.port}/v1", unknown_containers="shared")
    with gateway(tmp_path_factory.mktemp("passing"), settings) as berth:
        yield berth


def sent(provider: Provided, client: httpx2.Client, body: object, **headers: str) -> Any:
    """Return what the provider gets of a body."""
    provider.answers(answer(CONTAINER | {"id": f"cntr_{len(provider.asked)}"}))
    assert create(client, body, **headers).status_code == 200
    return json.loads(provider.asked[-1].body)


UNKNOWN = {
    "name": "x",
    "future": {"n": [1, 1.5, None, True, "é", {"": 2**53}], "empty": {}},
    "expires_after": {"anchor": "last_active_at", "minutes": 5, "hours": None},
    "memory_limit": "128g",
    "network_policy": {"type": "mesh", "peers": ["a"]},
    "skills": [{"type": "inline", "weight": 0.1}],
}


def test_what_berth_does_not_know_goes_on(passing: Berth, provider: Provided) -> None:
    """A provider gets unknown fields and values as they were sent, and the provider's name in no body."""
    with httpx2.Client(base_url=passing.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client:
        expected = UNKNOWN | {"expires_after": {"anchor": "last_active_at", "minutes": 5, "hours": None}}
        assert sent(provider, client, UNKNOWN | {"provider": "openai"}) == expected


def test_over_grpc_unknown_fields_go_on_as_well(passing: Berth, provider: Provided) -> None:
    """Typed callers put them into `additional_fields`."""
    provider.answers(answer(CONTAINER | {"id": "cntr_grpc"}))
    fields = [AdditionalField(path=["future"], value=Value(number_value=5))]
    request = CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="x", additional_fields=fields)
    with grpc.insecure_channel(passing.grpc) as channel:
        ContainerServiceStub(channel).CreateContainer(request, metadata=KEY)
    assert json.loads(provider.asked[-1].body) == {"name": "x", "future": 5}


@pytest.mark.parametrize(
    "path",
    [
        ["file_ids"],
        ["file_ids", "0"],
        ["metadata", "a"],
        ["expires_after", "minutes"],
        ["name", "x"],
        ["skills", "0"],
        [],
    ],
)
def test_no_known_field_goes_on_as_an_unknown_one(passing: Berth, provider: Provided, path: list[str]) -> None:
    """What the contract has a field for is checked as that field, so it cannot come as an additional one."""
    asked = len(provider.asked)
    fields = [AdditionalField(path=path, value=Value(string_value="file-of-another-tenant"))]
    request = CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="x", additional_fields=fields)
    with grpc.insecure_channel(passing.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        ContainerServiceStub(channel).CreateContainer(request, metadata=KEY)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(provider.asked) == asked


@pytest.mark.parametrize("name", ["file_id[]", "file_id[0]", "file[id]", "provider[]", "[x]", " file_id"])
def test_no_known_field_goes_on_in_another_notation(passing: Berth, provider: Provided, name: str) -> None:
    """Some read `file_id[]` of a form as `file_id`, which is checked for whose file it is."""
    with httpx2.Client(base_url=passing.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client:
        box = f"cntr_notations_{len(provider.asked)}"
        provider.answers(answer(CONTAINER | {"id": box}))
        assert create(client, {"provider": "openai", "name": "x"}).status_code == 200
        asked = len(provider.asked)
        provider.answers(answer(FILE | {"container_id": box}))
        path = f"/v1/containers/{box}/files"
        form = client.post(path, files={"file": ("a", b"x")}, data={name: "file-1"})
        expect(form, 400, name, "invalid_value")
        expect(create(client, {"file_id": "file-1", name: "file-2"}, path), 400, name, "invalid_value")
        assert len(provider.asked) == asked


def test_a_changed_unknown_field_is_another_request(passing: Berth, provider: Provided) -> None:
    """With an idempotency key, an unknown field that differs is a reused key, and an equal one a replay."""
    headers = {"idempotency-key": "unknown-fields"}
    with httpx2.Client(base_url=passing.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client:
        provider.answers(answer(CONTAINER | {"id": "cntr_once"}))
        first = create(client, {"provider": "openai", "name": "x", "a": 1, "b": 2}, **headers)
        again = create(client, {"b": 2, "a": 1, "name": "x", "provider": "openai"}, **headers)
        assert (first.json()["id"], again.json()["id"]) == ("cntr_once", "cntr_once")
        assert again.headers["idempotent-replayed"] == "true"
        other = create(client, {"provider": "openai", "name": "x", "a": 1, "b": 3}, **headers)
        expect(other, 400, "Idempotency-Key", "idempotency_key_reused")


def test_forms_and_copies_carry_unknown_fields_too(passing: Berth, provider: Provided) -> None:
    """A field of a form, before or behind the file, or of the JSON that copies a file, goes on to the provider."""
    with httpx2.Client(base_url=passing.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client:
        provider.answers(answer(CONTAINER | {"id": "cntr_forms"}))
        assert create(client, {"provider": "openai", "name": "x"}).status_code == 200
        provider.answers(answer(FILE | {"container_id": "cntr_forms"}))
        path = "/v1/containers/cntr_forms/files"
        assert client.post(path, files={"file": ("a", b"x")}, data={'co"lour': "réd"}).status_code == 200
        assert provider.asked[-1].form['co"lour'][2] == "réd".encode()
        assert create(client, {"file_id": "file-1", "colour": [1]}, path).status_code == 200
        assert json.loads(provider.asked[-1].body) == {"file_id": "file-1", "colour": [1]}


def test_a_setting_refuses_what_berth_does_not_know(
    provider: Provided, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With `unknown_fields: refuse` a provider is not asked."""
    settings = passing_to(f"http://127.0.0.1:{provider.port}/v1", unknown_fields="refuse")
    asked = len(provider.asked)
    with (
        gateway(tmp_path_factory.mktemp("strict"), settings) as berth,
        httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client,
    ):
        expect(create(client, {"provider": "openai", "name": "x", "future": 1}), 400, "future", "unknown_parameter")
    assert len(provider.asked) == asked


def test_hosted_forms_refuse_unknown_fields(client: httpx2.Client, container: str) -> None:
    """Where Berth keeps the file, an unknown field is refused wherever it stands in the form, and nothing is kept."""
    path = f"/v1/containers/{container}/files"
    early = client.post(path, data={"colours": "red"}, files={"file": ("a", b"x")})
    expect(early, 400, "colours", "unknown_parameter")
    late = (
        b'--e\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
        b'--e\r\nContent-Disposition: form-data; name="file_paths"\r\n\r\nx\r\n--e--\r\n'
    )
    response = client.post(path, content=late, headers={"content-type": "multipart/form-data; boundary=e"})
    expect(response, 400, "file_paths", "unknown_parameter")
    assert "did you mean 'file_path'?" in response.json()["error"]["message"]
    outside = client.post("/v1/files", data={"purpose": "batch", "colour": "red"}, files={"file": ("a", b"x")})
    expect(outside, 400, "colour", "unknown_parameter")
    assert client.get(path).json()["data"] == []
