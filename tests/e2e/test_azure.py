"""Azure's flavour of the API, before a server that minds every detail of it; the whole tour is in test_sdk.py."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from openai import AzureOpenAI

from support.providers.azure import AZURE_KEY, StrictAzure, strict_azure
from support.servers.background import in_background
from support.servers.berth import KEY_A, UNCOUNTED, Berth
from support.servers.chain import Chain, gateway

API_VERSION = "2025-04-01-preview"
AZURE = {"backend": "azure", "keys": [{"name": "main", "value": AZURE_KEY}]}


@pytest.fixture(params=[None, API_VERSION], ids=["no version", "a version"])
def strict(request: pytest.FixtureRequest, chain: Chain) -> Iterator[StrictAzure]:
    with in_background(strict_azure(chain.upstream.rest, request.param)) as strict:
        yield strict


@pytest.fixture
def berth(strict: StrictAzure, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Berth]:
    version = request.node.callspec.params["strict"]
    told = {"api_version": version} if version else {}
    with gateway(tmp_path, {**AZURE, "base_url": strict.url, **told}, inside=UNCOUNTED) as berth:
        yield berth


def test_azure_has_nothing_to_complain_about(berth: Berth, strict: StrictAzure) -> None:
    """Path, key and version are Azure's in each of the calls, and it is never asked for a list of containers."""
    with httpx2.Client(base_url=berth.rest, headers={"api-key": KEY_A}, timeout=30) as client:
        made = client.post("/v1/containers", json={"provider": "azure", "name": "box", "memory_limit": "4g"}).json()
        container = f"/v1/containers/{made['id']}"
        assert client.get(container).json()["memory_limit"] == "4g"
        assert [item["id"] for item in client.get("/v1/containers?provider=azure").json()["data"]] == [made["id"]]
        file = client.post(f"{container}/files?filename=a%20b.txt", content=b"hello").json()
        assert client.get(f"{container}/files").json()["data"][0]["id"] == file["id"]
        assert client.get(f"{container}/files/{file['id']}").json()["bytes"] == 5
        assert client.get(f"{container}/files/{file['id']}/content").content == b"hello"
        assert client.delete(f"{container}/files/{file['id']}").json()["deleted"]
        gone = client.delete(container)
        assert (gone.json()["deleted"], gone.headers["x-bifrost-provider"]) == (True, "azure")
    assert strict.complaints == []
    assert [call.partition(" ")[0] for call in strict.calls] == [
        *("POST", "GET", "POST", "GET", "GET", "GET", "DELETE", "DELETE")
    ]


def test_the_client_for_azure(berth: Berth, strict: StrictAzure) -> None:
    """OpenAI's client for Azure, with a version and a header of its own, does its tour unchanged."""
    client = AzureOpenAI(azure_endpoint=berth.rest, api_key=KEY_A, api_version="2025-03-01-preview", max_retries=0)
    with client:
        made = client.containers.create(name="tour")
        file = client.containers.files.create(made.id, file=("a.txt", b"hello", "text/plain"))
        assert client.containers.files.content.retrieve(file.id, container_id=made.id).content == b"hello"
        assert made.id in [item.id for item in client.containers.list()]
        client.containers.delete(made.id)
    assert strict.complaints == []
