"""What a gateway adds to the containers of another Berth, and what it must not change.

The suites that hold for every Berth run over the chain, too: see `chaining.everywhere`.
"""

import hashlib
from pathlib import Path

import httpx2
import pytest
from openai import OpenAI

from support.servers.berth import KEY_A, KEY_B, Berth
from support.servers.chain import UPSTREAM_KEY, Chain, gateway, passing_to, upstream

WHOLE = {
    "provider": "ollama",
    "name": "whole",
    "expires_after": {"anchor": "last_active_at", "minutes": 7},
    "memory_limit": "16g",
    "metadata": {"team": "a", "naïve": "日本"},
    "network_policy": {
        "type": "allowlist",
        "allowed_domains": ["a.example"],
        "domain_secrets": [{"domain": "a.example", "name": "TOKEN", "value": "hush-hush"}],
    },
}
OF_THE_CALL = {"extra_fields", "last_active_at"}


@pytest.fixture
def berth(chain: Chain) -> Berth:
    return chain.gateway


def at_upstream(chain: Chain, path: str) -> httpx2.Response:
    """Ask the Berth behind the gateway."""
    return httpx2.get(chain.upstream.rest + path, headers={"authorization": f"Bearer {UPSTREAM_KEY}"}, timeout=30)


def test_everything_gets_there_and_back(chain: Chain, client: httpx2.Client) -> None:
    """All fields of a create reach the provider, and all of its answer is in the gateway's."""
    made = client.post("/v1/containers", json=WHOLE).json()
    there = at_upstream(chain, f"/v1/containers/{made['id']}").json()
    assert {name: made[name] for name in made if name not in OF_THE_CALL} == {
        name: there[name] for name in there if name not in OF_THE_CALL
    }
    assert made["network_policy"] == {"type": "allowlist", "allowed_domains": ["a.example"]}
    assert (made["memory_limit"], made["metadata"]) == ("16g", WHOLE["metadata"])
    assert made["extra_fields"]["provider"] == "ollama"
    assert 0 <= made["extra_fields"]["upstream_latency"] <= made["extra_fields"]["latency"]


def test_the_headers_of_an_answer(client: httpx2.Client, container: str) -> None:
    """An answer names the provider and the operation, and says how long the provider took."""
    answer = client.get(f"/v1/containers/{container}")
    assert answer.headers["x-bifrost-provider"] == "ollama"
    assert answer.headers["x-bifrost-request-type"] == "container_retrieve"
    assert answer.headers["x-bifrost-upstream-latency-ms"].isdigit()
    assert "raw_response" not in answer.json()["extra_fields"]


def test_what_went_there_is_shown_when_asked_for(client: httpx2.Client) -> None:
    """The request and the answer of the provider are in extra_fields for who asks, without secrets."""
    shown = {"x-bf-send-back-raw-request": "true", "x-bf-send-back-raw-response": "true"}
    answer = client.post("/v1/containers", json=WHOLE, headers=shown)
    extra = answer.json()["extra_fields"]
    assert extra["raw_response"]["id"] == answer.json()["id"]
    assert extra["raw_request"]["body"]["metadata"] == WHOLE["metadata"]
    assert "hush" not in answer.text
    assert UPSTREAM_KEY not in answer.text


def test_tenants_share_a_key_and_nothing_else(chain: Chain, client: httpx2.Client, container: str) -> None:
    """Two tenants of the gateway are one at the provider, and see nothing of each other."""
    assert container in [item["id"] for item in at_upstream(chain, "/v1/containers?limit=100").json()["data"]]
    stranger = {"authorization": f"Bearer {KEY_B}"}
    assert client.get(f"/v1/containers/{container}", headers=stranger).status_code == 404
    assert container not in client.get("/v1/containers?limit=100", headers=stranger).text
    assert container in client.get("/v1/containers?limit=100").text


def test_a_file_keeps_its_name_and_type(chain: Chain, client: httpx2.Client, container: str) -> None:
    """Name, path and type of a file are the same on both sides, and so are its bytes."""
    content = bytes(range(256)) * 4096
    form = {"file": ('报告 "1".csv', content, "text/csv; charset=utf-8")}
    file = client.post(f"/v1/containers/{container}/files", files=form, data={"file_path": "in/报告.csv"}).json()
    assert file["path"] == "/mnt/data/in/报告.csv"
    path = f"/v1/containers/{container}/files/{file['id']}"
    here, there = client.get(f"{path}/content"), at_upstream(chain, f"{path}/content")
    assert hashlib.sha256(here.content).digest() == hashlib.sha256(content).digest()
    for name in ("content-type", "content-disposition", "content-length", "etag"):
        assert here.headers.get(name) == there.headers.get(name), name


def test_what_the_provider_lost(chain: Chain, client: httpx2.Client, container: str) -> None:
    """A container that is gone at the provider is gone: a 404, and once deleted it leaves the list."""
    headers = {"authorization": f"Bearer {UPSTREAM_KEY}"}
    httpx2.delete(f"{chain.upstream.rest}/v1/containers/{container}", headers=headers, timeout=30)
    assert client.get(f"/v1/containers/{container}").status_code == 404
    assert client.delete(f"/v1/containers/{container}").status_code == 404
    assert container not in client.get("/v1/containers?limit=100").text


def test_an_id_that_would_climb(client: httpx2.Client) -> None:
    """No id leads to another path of the provider's."""
    for strange in ("..%2F..%2Fmodels", "%2e%2e", "a%3Fb", "x%00y"):
        assert client.get(f"/v1/containers/{strange}").status_code in {400, 404}


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """A gateway that was stopped and started knows whose each container is, and at which provider."""
    with upstream(tmp_path) as hosted:
        passing = passing_to(f"{hosted.rest}/v1")
        with gateway(tmp_path, passing) as berth, OpenAI(base_url=f"{berth.rest}/v1", api_key=KEY_A) as sdk:
            made = sdk.containers.create(name="kept")
        with gateway(tmp_path, passing) as berth, OpenAI(base_url=f"{berth.rest}/v1", api_key=KEY_A) as sdk:
            assert [item.id for item in sdk.containers.list()] == [made.id]
            assert sdk.containers.retrieve(made.id).name == "kept"
            sdk.containers.delete(made.id)
