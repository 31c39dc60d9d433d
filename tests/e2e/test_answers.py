"""What answers look like over REST: types of JSON, headers, and what clients send beside a request."""

import uuid
from pathlib import Path

import httpx2
import pytest

from support.clients.envelope import expect
from support.servers.berth import SETTINGS, running


def test_numbers_and_names(client: httpx2.Client) -> None:
    """Times, sizes and latencies are JSON numbers, enums short names, and what is always there is always printed."""
    container = client.post("/openai/v1/containers", json={"name": "shape", "metadata": {"a": "é"}}).json()
    file = client.post(f"/v1/containers/{container['id']}/files?filename=x", content=b"12345").json()
    assert isinstance(container["created_at"], int)
    assert isinstance(container["last_active_at"], int)
    assert (container["status"], container["metadata"]) == ("running", {"a": "é"})
    assert container["extra_fields"]["request_type"] == "container_create"
    assert container["extra_fields"]["provider"] == "openai"
    assert isinstance(container["extra_fields"]["latency"], int)
    assert (file["bytes"], file["source"]) == (5, "user")
    empty = client.get("/v1/containers?name=nothing-has-this-name").json()
    assert {"object": "list", "data": [], "has_more": False, "first_id": "", "last_id": ""}.items() <= empty.items()
    (item,) = client.get(f"/v1/containers/{container['id']}/files").json()["data"]
    assert "extra_fields" not in item
    gone = client.delete(f"/v1/containers/{container['id']}/files/{file['id']}").json()
    assert (gone["id"], gone["object"], gone["deleted"]) == (file["id"], "container.file.deleted", True)


def test_headers(client: httpx2.Client, container: str) -> None:
    """Every answer names its operation, its provider and its id, and none carries a header of gRPC's."""
    file = client.post(f"/v1/containers/{container}/files?filename=x", content=b"1").json()["id"]
    for path, operation in {
        "": "container_retrieve",
        "/files": "container_file_list",
        f"/files/{file}": "container_file_retrieve",
        f"/files/{file}/content": "container_file_content",
    }.items():
        response = client.get(f"/v1/containers/{container}{path}")
        assert response.status_code == 200
        assert response.headers["x-bifrost-request-type"] == operation
        assert response.headers["x-bifrost-provider"] == "ollama"
        assert response.headers["x-request-id"]
        assert not [name for name in response.headers if name.startswith("grpc-") or name == "server"]


@pytest.mark.parametrize("given", [str(uuid.UUID(int=2**128 - 1)), "0195d3a0-0000-7000-3333-000000000000", "my-id-1"])
def test_request_id(client: httpx2.Client, given: str) -> None:
    """The id that a caller gives its request comes back as it was, on answers and on refusals."""
    for path in ("/v1/containers", "/v1/containers?limit=0", "/v1/nothing"):
        assert client.get(path, headers={"x-request-id": given}).headers["x-request-id"] == given


def test_what_clients_of_azure_send(client: httpx2.Client) -> None:
    """A version of Azure's API in the query is no unknown parameter."""
    assert client.get("/openai/containers?api-version=2025-04-01-preview").status_code == 200


@pytest.mark.parametrize(
    "body",
    ['{"name": "x", "metadata": {"a": {}}}', '{"name": "x", "metadata": {"a": {"b": "c"}}}', '{"name": "\\ud800"}'],
)
def test_what_a_transcoder_would_garble(client: httpx2.Client, body: str) -> None:
    """A body that Envoy would turn into broken protobuf is the client's mistake and no failure of the service."""
    response = client.post("/v1/containers", content=body, headers={"content-type": "application/json"})
    expect(response, 400, response.json()["error"]["param"])


def test_deadline_of_a_rest_client(client: httpx2.Client) -> None:
    """Headers of gRPC's that a REST client sends change nothing."""
    headers = {"grpc-timeout": "1n", "grpc-encoding": "nonsense", "x-trace-bin": "not base64!"}
    assert client.get("/v1/containers", headers=headers).status_code == 200


def test_open_to_every_page(tmp_path: Path) -> None:
    """With the origin "*" a script of any page may call."""
    with running(tmp_path, SETTINGS | {"cors": {"origins": ["*"]}}) as berth, httpx2.Client(timeout=30) as client:
        asked = client.options(
            f"{berth.rest}/v1/containers",
            headers={"origin": "https://any.example", "access-control-request-method": "POST"},
        )
        assert asked.headers["access-control-allow-origin"] in {"*", "https://any.example"}
