"""The sizes of containers in lists: who gets them, over REST and gRPC, and who does not."""

import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import pytest

from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from support.clients.envelope import expect
from support.servers.berth import KEY_A, Berth

KEY = (("authorization", f"Bearer {KEY_A}"),)
HUGE = 5_000_000_000
"""A size that an integer of 32 bits cannot have."""


def put(client: httpx2.Client, container: str, path: str, size: int) -> str:
    """Upload a file; return its id."""
    query = {"file_path": path}
    made = client.post(f"/v1/containers/{container}/files", params=query, content=b"x" * size).raise_for_status()
    file: str = made.json()["id"]
    return file


def listed(client: httpx2.Client, container: str, query: str = "include=bytes") -> dict[str, Any]:
    """Return a container as it is in a list."""
    page = client.get(f"/v1/containers?limit=100&{query}").raise_for_status().json()
    return next(item for item in page["data"] if item["id"] == container)


@pytest.mark.parametrize("berth", ["hosted", "on_servers"], indirect=True)
def test_a_list_has_sizes_on_request(client: httpx2.Client, container: str) -> None:
    """The size follows uploads and deletes; without `include`, and anywhere else, there is none."""
    assert listed(client, container)["bytes"] == 0
    file = put(client, container, "a", 1000)
    put(client, container, "b", 234)
    for query in ("include=bytes", "include=bytes&include=bytes", "include=bytes&provider=ollama&status=running"):
        assert listed(client, container, query)["bytes"] == 1234
    client.delete(f"/v1/containers/{container}/files/{file}").raise_for_status()
    with_size = listed(client, container)
    assert with_size.pop("bytes") == 234
    assert listed(client, container, "include=") == listed(client, container, "") == with_size
    assert "bytes" not in client.get(f"/v1/containers/{container}").json()


@pytest.mark.parametrize("berth", ["chained"], indirect=True)
def test_a_container_at_a_provider_has_no_size(client: httpx2.Client, container: str) -> None:
    """Berth does not know the size of what a provider keeps, and says none."""
    put(client, container, "a", 1)
    assert "bytes" not in listed(client, container)


@pytest.mark.parametrize("path", ["/v1/containers", "/openai/v1/containers"])
@pytest.mark.parametrize("values", ["size", "Bytes", "bytes,bytes", "bytes&include=size"])
def test_another_value_is_refused(client: httpx2.Client, path: str, values: str) -> None:
    """A value that Berth does not know is a 400 that names the parameter."""
    expect(client.get(f"{path}?include={values}"), 400, "include", "invalid_value")


def test_only_lists_of_containers_have_the_parameter(client: httpx2.Client, container: str) -> None:
    """Other operations do not know `include`, and the notation with brackets is unknown everywhere."""
    for path in (f"/v1/containers/{container}", f"/v1/containers/{container}/files", "/v1/files"):
        expect(client.get(f"{path}?include=bytes"), 400, "include", "unknown_parameter")
    assert client.get("/v1/containers?include[]=bytes").status_code == 400


@pytest.mark.parametrize("way", ["direct", "envoy"])
def test_over_grpc(berth: Berth, client: httpx2.Client, container: str, way: str) -> None:
    """The sizes are the same over gRPC, absent unless they are asked for, and the same refusal."""
    put(client, container, "a", 7)
    with grpc.insecure_channel(berth.grpc if way == "direct" else urlsplit(berth.rest).netloc) as channel:
        ask = ContainerServiceStub(channel).ListContainers
        page = ask(ListContainersRequest(limit=1, include=["bytes"]), metadata=KEY)
        assert (page.data[0].id, page.data[0].bytes) == (container, 7)
        assert not ask(ListContainersRequest(limit=1), metadata=KEY).data[0].HasField("bytes")
        with pytest.raises(grpc.RpcError, match="Invalid 'include': expected one of 'bytes', but got 'size'") as caught:
            ask(ListContainersRequest(include=["bytes", "size"]), metadata=KEY)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_huge_container(berth: Berth, client: httpx2.Client, container: str) -> None:
    """A size beyond 4 GiB is a whole number in JSON, too."""
    with closing(sqlite3.connect(berth.log.parent / "data" / "berth.db", timeout=20)) as database:
        for size in (HUGE, 0):  # what the database says of it in the end is true again
            with database:
                database.execute("UPDATE containers SET bytes = ? WHERE id = ?", (size, container))
            text = client.get("/v1/containers?limit=1&include=bytes").text
            assert f'"bytes":{size},' in text.replace(" ", "").replace("}", ",")
