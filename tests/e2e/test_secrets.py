"""Secrets stay where they are: none of them in an answer, a log line, the database, or what is shown of a call."""

import base64
import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import httpx2
import pytest

from support.measuring.leaks import leaks
from support.providers.faults import CONTAINER
from support.providers.raw import Behaviour, Exchange, answer, misbehaving
from support.servers.background import in_background
from support.servers.berth import Berth, running
from support.servers.chain import passing_to

CONFIGURED, DIRECT, VIRTUAL = "sk-hush-configured", "sk-hush-direct", "sk-bf-hush-virtual"
BASIC, EXTRA, DOMAIN, HASHING = "hush-basic", "hush-extra-header", "hush-domain-secret", "hush-hashing"
USER = base64.b64encode(f"ops:{BASIC}".encode()).decode()
STRANGE_KEY, STRANGE_USER = "sk-bf-hush-nobody", base64.b64encode(b"nobody:hush").decode()
SECRETS = [CONFIGURED, DIRECT, VIRTUAL, BASIC, EXTRA, DOMAIN, HASHING, USER, STRANGE_KEY, STRANGE_USER]
SHOW = {"x-bf-send-back-raw-request": "true", "x-bf-send-back-raw-response": "true"}
CALLERS = {
    "virtual key": {"x-bf-vk": VIRTUAL},
    "virtual key as Bearer": {"authorization": f"Bearer {VIRTUAL}"},
    "Basic user": {"authorization": f"Basic {USER}"},
    "direct key": {"authorization": f"Bearer {DIRECT}"},
    "virtual key beside a direct one": {"x-bf-vk": VIRTUAL, "x-api-key": DIRECT},
    "nobody": {"x-bf-vk": STRANGE_KEY},
    "no user": {"authorization": f"Basic {STRANGE_USER}"},
}
NEW = {
    "name": "box",
    "network_policy": {
        "type": "allowlist",
        "allowed_domains": ["a.example"],
        "domain_secrets": [{"domain": "a.example", "name": "TOKEN", "value": DOMAIN}],
    },
}


def echo() -> Behaviour:
    """Make containers, refuse all else, and tell in each answer everything that came with the call."""
    numbers = count(1)

    async def behave(exchange: Exchange) -> None:
        call = exchange.received
        told = json.dumps([call.target, dict(call.headers), call.body.decode()])
        if call.method == "POST" and "/files" not in call.path:
            more = {"id": f"cntr_{next(numbers)}", "echo": told}
            await answer(200, CONTAINER | more)(exchange)
        else:
            status = 401 if call.method == "DELETE" else 500 if "/files" in call.path else 400
            error = {"message": f"Bad: {told}", "type": told, "param": told, "code": told}
            await answer(status, {"error": error})(exchange)

    return behave


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secrets")


@pytest.fixture(scope="module")
def berth(folder: Path) -> Iterator[Berth]:
    auth = {
        "direct_key_secret": HASHING,
        "virtual_keys": [{"name": "a", "value": VIRTUAL, "tenant": "a"}],
        "basic_users": [{"name": "ops", "password": BASIC, "tenant": "a"}],
    }
    with in_background(misbehaving(echo())) as provider:
        passing = passing_to(f"{provider.url}/v1", CONFIGURED, extra_headers={"x-gate": EXTRA}, max_retries=0)
        listen = {"metrics": "127.0.0.1:0"}
        with running(folder, {"providers": {"openai": passing}, "auth": auth, "listen": listen}) as berth:
            yield berth


@pytest.mark.parametrize("who", CALLERS)
@pytest.mark.parametrize("shown", [SHOW, {}], ids=["shown", "not shown"])
def test_no_answer_has_a_secret(berth: Berth, folder: Path, who: str, shown: Mapping[str, str]) -> None:
    """Even a provider that tells all it was given gives no secret away: in no answer, and in no file of Berth's."""
    headers = {**CALLERS[who], **shown}
    answers = []
    with httpx2.Client(base_url=f"{berth.rest}/openai/v1/containers", headers=headers, timeout=30) as client:
        made = client.post("", json=NEW)
        answers += [made, client.get("/cntr_unknown"), client.get(""), client.get("?limit=0")]
        if made.status_code == 200:
            path = f"/{made.json()['id']}"
            answers += [client.get(path), client.post(f"{path}/files?filename=x", content=b"x")]
            answers += [client.get(f"{path}/files/cfile_1/content"), client.delete(path)]
            assert ("raw_response" in made.json()["extra_fields"]) == bool(shown)
            assert ("raw_request" in made.json()["extra_fields"]) == bool(shown)
    assert berth.metrics is not None
    answers.append(httpx2.get(berth.metrics, timeout=30))
    told = "".join(f"{answer.headers}{answer.text}" for answer in answers)
    assert "berth_call_seconds_count" in told
    assert [secret for secret in SECRETS if secret in told] == []
    assert leaks(folder, SECRETS) == []
