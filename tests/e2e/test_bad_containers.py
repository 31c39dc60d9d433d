"""Bad creates and lists through Envoy: the right status, the envelope, the parameter's name, nothing left behind."""

import json

import httpx2
import pytest

from support.clients.envelope import expect
from support.servers.chain import everywhere

pytestmark = everywhere

NAME = "bad-input"
GOOD = {"provider": "ollama", "name": NAME}
EXPIRY = {"anchor": "last_active_at", "minutes": 5}
BAD_BODIES = {
    "no body": ("", None, "invalid_json"),
    "a list": ("[]", None, "invalid_type"),
    "broken JSON": ('{"provider": "ollama", "name": ', None, "invalid_json"),
    "not UTF-8": (b'{"name": "\xff"}', None, "invalid_json"),
    "a number for a string": (GOOD | {"name": 5}, "name", "invalid_type"),
    "an object for a string": (GOOD | {"name": {"a": 1}}, "name", None),
    "name missing": ({"provider": "ollama"}, "name", "missing_required_parameter"),
    "name empty": (GOOD | {"name": ""}, "name", "missing_required_parameter"),
    "name too long": (GOOD | {"name": "x" * 10_000}, "name", "string_above_max_length"),
    "name one too long": (GOOD | {"name": "x" * 257}, "name", "string_above_max_length"),
    "name with NUL": (GOOD | {"name": "a\0b"}, "name", "invalid_value"),
    "provider unknown": (GOOD | {"provider": "nobody"}, "provider", "invalid_value"),
    "provider a number": (GOOD | {"provider": 3}, "provider", "invalid_type"),
    "minutes 0": (
        GOOD | {"expires_after": EXPIRY | {"minutes": 0}},
        "expires_after.minutes",
        "integer_below_min_value",
    ),
    "minutes -1": (
        GOOD | {"expires_after": EXPIRY | {"minutes": -1}},
        "expires_after.minutes",
        "integer_below_min_value",
    ),
    "minutes 1e9": (
        GOOD | {"expires_after": EXPIRY | {"minutes": 1_000_000_000}},
        "expires_after.minutes",
        "integer_above_max_value",
    ),
    "minutes 1e10": (GOOD | {"expires_after": EXPIRY | {"minutes": 10**10}}, "expires_after.minutes", None),
    "minutes a word": (
        GOOD | {"expires_after": EXPIRY | {"minutes": "soon"}},
        "expires_after.minutes",
        "invalid_type",
    ),
    "minutes missing": (
        GOOD | {"expires_after": {"anchor": "last_active_at"}},
        "expires_after.minutes",
        "missing_required_parameter",
    ),
    "anchor missing": (
        GOOD | {"expires_after": {"minutes": 5}},
        "expires_after.anchor",
        "missing_required_parameter",
    ),
    "another anchor": (
        GOOD | {"expires_after": EXPIRY | {"anchor": "created_at"}},
        "expires_after.anchor",
        "invalid_value",
    ),
    "memory_limit 3g": (GOOD | {"memory_limit": "3g"}, "memory_limit", "invalid_value"),
    "metadata not a string": (GOOD | {"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
    "metadata of 1000 pairs": (
        GOOD | {"metadata": {f"k{n}": "v" for n in range(1000)}},
        "metadata",
        "object_above_max_length",
    ),
    "skills": (GOOD | {"skills": [{"type": "skill_reference", "skill_id": "s"}]}, "skills", "unsupported_parameter"),
    "unknown file": (GOOD | {"file_ids": ["file-nope"]}, "file_ids[0]", "invalid_value"),
    "51 files": (GOOD | {"file_ids": ["file-x"] * 51}, "file_ids", "array_above_max_length"),
    "policy without type": (
        GOOD | {"network_policy": {"allowed_domains": ["a.example"]}},
        "network_policy.type",
        "missing_required_parameter",
    ),
    "allowlist of nothing": (
        GOOD | {"network_policy": {"type": "allowlist"}},
        "network_policy.allowed_domains",
        "missing_required_parameter",
    ),
}


@pytest.mark.parametrize("case", BAD_BODIES)
def test_create_container(client: httpx2.Client, case: str) -> None:
    """A create that cannot be is a 400 that names its parameter, and makes nothing."""
    body, param, code = BAD_BODIES[case]
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    path = "/v1/containers"
    response = client.post(path, content=content, headers={"content-type": "application/json"})
    expect(response, 400, param, code)
    assert client.get("/v1/containers", params={"name": NAME}).json()["data"] == []


def test_body_too_large(client: httpx2.Client) -> None:
    """A JSON body above its limit (1 MiB, and more where skills are passed on) is refused; SDKs do not retry it."""
    response = client.post("/v1/containers", json=GOOD | {"metadata": {"a": "x" * 70 * 1024 * 1024}})
    expect(response, 400, None, "request_too_large")


def test_secrets_stay_inside(client: httpx2.Client) -> None:
    """A network policy comes back without the secrets that were given with it."""
    policy = {
        "type": "allowlist",
        "allowed_domains": ["a.example"],
        "domain_secrets": [{"domain": "a.example", "name": "TOKEN", "value": "hush-hush"}],
    }
    created = client.post("/v1/containers", json=GOOD | {"name": "policy", "network_policy": policy})
    assert created.json()["network_policy"] == {"type": "allowlist", "allowed_domains": ["a.example"]}
    retrieved = client.get(f"/v1/containers/{created.json()['id']}")
    assert "hush" not in created.text + retrieved.text


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ("limit=0", "limit", "integer_below_min_value"),
        ("limit=101", "limit", "integer_above_max_value"),
        ("limit=-1", "limit", "integer_below_min_value"),
        ("limit=abc", "limit", "invalid_type"),
        ("limit=1&limit=2", "limit", "duplicate_parameter"),
        ("order=up", "order", "invalid_value"),
        ("after=cntr_unknown", "after", "invalid_value"),
        ("provider=nobody", "provider", "invalid_value"),
        ("bogus=1", "bogus", "unknown_parameter"),
    ],
)
def test_list(client: httpx2.Client, container: str, query: str, param: str, code: str) -> None:
    """A list that cannot be is a 400 that names its parameter: of containers and of files."""
    expect(client.get(f"/v1/containers?{query}"), 400, param, code)
    expect(client.get(f"/v1/containers/{container}/files?{query}"), 400, param, code)
