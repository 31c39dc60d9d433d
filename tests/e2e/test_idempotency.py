"""Idempotency keys as clients use them: over REST, over gRPC, with the SDK, and across a restart."""

from uuid import uuid4

import grpc
import httpx2
import pytest
from openai import OpenAI

from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.clients.envelope import expect
from support.servers.berth import KEY_A, KEY_B, Berth
from support.servers.chain import and_on_servers

pytestmark = and_on_servers
NEW = {"provider": "ollama", "name": "once"}


@pytest.fixture
def key() -> str:
    return f"key {uuid4()}"


def listed(client: httpx2.Client) -> set[str]:
    return {container["id"] for container in client.get("/v1/containers?limit=100").json()["data"]}


def test_a_create_is_told_again(client: httpx2.Client, key: str) -> None:
    """The same id with the header that says so; the first answer has no such header; one container is made."""
    before = listed(client)
    first, again = (client.post("/v1/containers", json=NEW, headers={"idempotency-key": key}) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-bifrost-provider"] == "ollama"
    assert again.json()["extra_fields"]["idempotent_replayed"] is True
    told = [
        {name: value for name, value in answer.json().items() if name != "extra_fields"} for answer in (first, again)
    ]
    assert told[0] == told[1]
    assert listed(client) - before == {first.json()["id"]}


def test_another_request_is_refused(client: httpx2.Client, key: str) -> None:
    """Another body, or an upload, with a used key is a 400 that names the header."""
    container = client.post("/v1/containers", json=NEW, headers={"idempotency-key": key}).json()["id"]
    other = client.post("/v1/containers", json=NEW | {"name": "other"}, headers={"idempotency-key": key})
    expect(other, 400, "Idempotency-Key", "idempotency_key_reused")
    upload = client.post(f"/v1/containers/{container}/files?filename=a", content=b"x", headers={"idempotency-key": key})
    expect(upload, 400, "Idempotency-Key", "idempotency_key_reused")


def test_a_key_is_the_tenants_own(berth: Berth, client: httpx2.Client, key: str) -> None:
    """Another tenant with the same key makes a container of its own."""
    sent = {"idempotency-key": key}
    ours = client.post("/v1/containers", json=NEW, headers=sent)
    theirs = httpx2.post(f"{berth.rest}/v1/containers", json=NEW, headers={"x-bf-vk": KEY_B, **sent}, timeout=30)
    assert theirs.status_code == 200
    assert theirs.json()["id"] != ours.json()["id"]


@pytest.mark.parametrize("bad", ["", "x" * 256])
def test_a_key_that_cannot_be_is_named(client: httpx2.Client, bad: str) -> None:
    """An empty key, and one that is too long, are the client's mistake."""
    answer = client.post("/v1/containers", json=NEW, headers={"idempotency-key": bad})
    expect(answer, 400, "Idempotency-Key", "invalid_value")


def test_an_upload_is_told_again(client: httpx2.Client, container: str, key: str) -> None:
    """As a form and as bytes: one file, told twice; other bytes are another request."""
    path, sent = f"/v1/containers/{container}/files", {"idempotency-key": key}
    first, again = (client.post(path, files={"file": ("a.txt", b"hello")}, headers=sent) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    expect(client.post(path, files={"file": ("a.txt", b"other")}, headers=sent), 400, "Idempotency-Key")
    assert len(client.get(path).json()["data"]) == 1


def test_a_failure_is_told_again(client: httpx2.Client, key: str) -> None:
    """A request that was wrong stays wrong, and the refusal says that it was told before."""
    wrong, sent = NEW | {"expires_after": {"anchor": "nothing", "minutes": 20}}, {"idempotency-key": key}
    first, again = (client.post("/v1/containers", json=wrong, headers=sent) for _ in range(2))
    assert (first.status_code, again.status_code) == (400, 400)
    assert first.json()["error"] == again.json()["error"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_grpc_callers_are_told_too(berth: Berth, key: str) -> None:
    """In the field of the message, and in the metadata behind it."""
    metadata = (("x-bf-vk", KEY_A), ("idempotency-key", key))
    with grpc.insecure_channel(berth.grpc) as channel:
        create = ContainerServiceStub(channel).CreateContainer
        request = CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="once")
        first, _ = create.with_call(request, metadata=metadata)
        again, call = create.with_call(request, metadata=metadata)
    assert (again.id, again.extra_fields.idempotent_replayed) == (first.id, True)
    assert dict(call.trailing_metadata())["idempotent-replayed"] == "true"


def test_the_sdk_sends_a_key(berth: Berth, key: str) -> None:
    """The official SDK with the header gets the same container twice."""
    sdk = OpenAI(base_url=f"{berth.rest}/v1", api_key=KEY_A, max_retries=0)
    ids = {
        sdk.containers.create(name="once", extra_body={"provider": "ollama"}, extra_headers={"Idempotency-Key": key}).id
        for _ in range(3)
    }
    assert len(ids) == 1
