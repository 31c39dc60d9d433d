"""Bad paths, ids, methods and credentials through Envoy: the right status and the envelope."""

import socket
from urllib.parse import urlsplit

import httpx2
import pytest

from support.clients.envelope import expect, expect_raw
from support.servers.berth import KEY_A, Berth

BAD_IDS = ["a%2Fb", "a%252Fb", "%20", "x" * 10_000, "日本語", "cntr_%F0%9F%9A%A2", "a%0Ab", "'%20OR%201=1--", "-"]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids(client: httpx2.Client, container: str, bad: str) -> None:
    """An id of any form is a 404 and no more."""
    for path in (f"/v1/containers/{bad}", f"/v1/containers/{bad}/files", f"/v1/containers/{container}/files/{bad}"):
        expect(client.get(path), 404, None)
        if not path.endswith("files"):
            expect(client.delete(path), 404, None)


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/containers/%00", {404}),
        ("/v1/containers/a%00b/files", {404}),
        ("/v1/containers/..", {404}),
        ("/v1/containers/../../etc/passwd", {404}),
        ("/v1/containers/%2e%2e/nothing", {404}),
        ("/v1/containers/%ff", {400}),
        ("/v1/containers/" + "x" * 100_000, {431}),
        ("/nope", {404}),
        ("/v1", {404}),
    ],
)
def test_paths(berth: Berth, path: str, statuses: set[int]) -> None:
    """A path that leads nowhere is refused with the envelope, as it stands on the wire."""
    expect_raw(raw(berth, f"GET {path} HTTP/1.1"), statuses)


def test_the_query_cannot_replace_the_path(client: httpx2.Client, container: str) -> None:
    """An id that stands in the path is the one that counts: given again in the query, it is refused."""
    path = f"/v1/containers/{container}"
    for response in (
        client.get(path, params={"container_id": "cntr_other"}),
        client.delete(path, params={"container_id": container}),
        client.post(f"{path}/files", params={"container_id": "cntr_other"}, content=b"x"),
    ):
        expect(response, 400, "container_id", "duplicate_parameter")
    expect(client.get("/v1/containers?provider=groq&provider=ollama"), 400, "provider", "duplicate_parameter")


@pytest.mark.parametrize(
    ("name", "shown"), [("body", "body"), ("aftr", "aftr"), ("%FF", "%FF"), ("x" * 3000, "x" * 61 + "...")]
)
@pytest.mark.parametrize("value", ["=", "=x"])
def test_what_no_operation_reads_is_refused(
    client: httpx2.Client, container: str, name: str, shown: str, value: str
) -> None:
    """A misspelt parameter is named, and never repeated at length."""
    for path in ("/v1/containers", f"/v1/containers/{container}", f"/v1/containers/{container}/files"):
        expect(client.get(f"{path}?{name}{value}"), 400, shown, "unknown_parameter")
    expect(client.get("/v1/containers?aftr"), 400, "aftr", "unknown_parameter")
    assert client.get(f"/v1/containers/{container}?api-version=2025-01-01").status_code == 200


def test_connect_is_refused(berth: Berth) -> None:
    """A CONNECT, whose body has no end, is answered at once."""
    expect_raw(raw(berth, "CONNECT elsewhere:443 HTTP/1.1"), {404})


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "POST"])
def test_methods(client: httpx2.Client, container: str, verb: str) -> None:
    """A method that does not exist on a path is a 405 with the envelope."""
    expect(client.request(verb, f"/v1/containers/{container}"), 405, None, "method_not_allowed")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "virtual_key_required"),
        ({"authorization": "Bearer sk-bf-wrong"}, "virtual_key_not_found"),
        ({"authorization": "Bearer"}, "virtual_key_not_found"),
        ({"authorization": "Bearer sk-somebody-elses"}, "virtual_key_not_found"),
        ({"x-bf-vk": "wrong"}, "virtual_key_not_found"),
        ({"x-api-key": "sk-bf-wrong"}, "virtual_key_not_found"),
        ({"authorization": "Basic b3BzOndyb25n"}, "basic_user_not_found"),
        ({"authorization": "Basic !!!"}, "basic_user_not_found"),
        ({"authorization": f"Bearer {KEY_A}", "x-bf-vk": "sk-bf-tenant-b"}, "conflicting_credentials"),
        ({"authorization": "Basic b3BzOnBhc3M6d29yZA==", "x-bf-vk": KEY_A}, "conflicting_credentials"),
    ],
)
def test_credentials(berth: Berth, headers: dict[str, str], code: str) -> None:
    """No credential, a wrong one, and two that differ are a 401 each, before anything else is looked at."""
    with httpx2.Client(base_url=berth.rest, headers=headers, timeout=30) as client:
        for response in (client.get("/v1/containers?limit=0"), client.post("/v1/containers", json={})):
            expect(response, 401, None, code)
            assert response.json()["error"]["type"] == code


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY_A}"},
        {"authorization": f"bearer {KEY_A}"},
        {"authorization": "Basic b3BzOnBhc3M6d29yZA=="},
        {"x-bf-vk": KEY_A},
        {"x-api-key": KEY_A},
        {"x-goog-api-key": KEY_A},
        {"api-key": KEY_A},
        {"authorization": f"Bearer {KEY_A}", "x-bf-vk": KEY_A},
        {"authorization": "Bearer sk-a-key-of-openai", "x-bf-vk": KEY_A},
    ],
)
def test_good_credentials(berth: Berth, headers: dict[str, str]) -> None:
    """Each header that may carry a credential lets its tenant in."""
    with httpx2.Client(base_url=berth.rest, headers=headers, timeout=30) as client:
        assert client.get("/v1/containers").status_code == 200


def raw(berth: Berth, request_line: str) -> bytes:
    """Send a request as it stands; return the whole answer."""
    where = urlsplit(berth.rest)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=10) as connection:
        head = f"{request_line}\r\nHost: x\r\nAuthorization: Bearer {KEY_A}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while received := connection.recv(65_536):
            answer += received
    return answer


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit", "limit"), ("order=asc&order", "order"), ("after&limit=1", "after"), ("status", "status")],
)
def test_a_parameter_has_a_value(client: httpx2.Client, query: str, param: str) -> None:
    """Envoy passes over a parameter without an equals sign; it is refused by its name."""
    expect(client.get(f"/v1/containers?{query}"), 400, param, "invalid_value")


def test_a_nested_parameter_is_given_once(client: httpx2.Client) -> None:
    """The last of two values would win, and the first vanish."""
    query = "purpose=batch&expires_after.anchor=created_at&expires_after.seconds=3600&expires_after.seconds=7200"
    expect(client.post(f"/v1/files?{query}", content=b"x"), 400, "expires_after.seconds", "duplicate_parameter")


@pytest.mark.parametrize(
    ("query", "param"), [("name", "name"), ("name=a", "name"), ("memory_limit=1g", "memory_limit")]
)
def test_a_field_of_the_body_is_no_parameter(client: httpx2.Client, query: str, param: str) -> None:
    """A create takes nothing but the provider from its query."""
    expect(client.post(f"/v1/containers?{query}", json={"name": "a"}), 400, param, "unknown_parameter")
