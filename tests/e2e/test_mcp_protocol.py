"""The protocol of MCP, by hand: versions, errors, batches, notifications, and who may call it from where."""

import asyncio
import json
from typing import Any

import httpx2
import pytest

from support.clients.http1 import exchange
from support.clients.mcp import ENVELOPE, PATH, STATELESS, call, failed, post, request, tool_call
from support.servers.berth import KEY_A, Berth

PING = request("ping")
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022


def error_of(answer: httpx2.Response) -> tuple[int, int, object]:
    """Return the HTTP status, the code of the error, and the id that it answers."""
    body = answer.json()
    assert set(body) == {"jsonrpc", "id", "error"}, body
    return answer.status_code, body["error"]["code"], body["id"]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2099-01-01", "2025-11-25"),
        (7, "2025-11-25"),
    ],
)
def test_a_version_is_agreed_on(client: httpx2.Client, asked: object, answered: str) -> None:
    """It is the client's if it is known, else the newest one that has a handshake."""
    result = post(client, request("initialize", protocolVersion=asked)).json()["result"]
    assert result["protocolVersion"] == answered
    assert result["capabilities"] == {"tools": {}}
    assert result["serverInfo"]["name"] == "berth"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, PARSE_ERROR, None)),
        (b"{", (400, PARSE_ERROR, None)),
        (b"\xff", (400, PARSE_ERROR, None)),
        (b"[" * 2000, (400, PARSE_ERROR, None)),
        (b"7", (400, INVALID_REQUEST, None)),
        (b"[]", (400, INVALID_REQUEST, None)),
        (b"null", (400, INVALID_REQUEST, None)),
        ({}, (400, INVALID_REQUEST, None)),
        ({**PING, "jsonrpc": "1.0"}, (400, INVALID_REQUEST, None)),
        ({**PING, "method": 7}, (400, INVALID_REQUEST, None)),
        ({**PING, "params": []}, (400, INVALID_REQUEST, None)),
        ({**PING, "id": None}, (400, INVALID_REQUEST, None)),
        ({**PING, "id": True}, (400, INVALID_REQUEST, None)),
        ({**PING, "id": {}}, (400, INVALID_REQUEST, None)),
        ({**PING, "id": "\ud800"}, (400, INVALID_REQUEST, None)),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}', (400, INVALID_REQUEST, None)),
        (request("resources/list", "text"), (200, METHOD_NOT_FOUND, "text")),
        (request("server/discover"), (200, METHOD_NOT_FOUND, 1)),
        (request("tools/list", cursor="x"), (200, INVALID_PARAMS, 1)),
        (request("tools/call"), (200, INVALID_PARAMS, 1)),
        (tool_call("nothing"), (200, INVALID_PARAMS, 1)),
        (request("tools/call", name="list_containers", arguments=[]), (200, INVALID_PARAMS, 1)),
        ([PING] * 51, (400, INVALID_REQUEST, None)),
    ],
    ids=str,
)
def test_errors_are_those_of_json_rpc(client: httpx2.Client, body: object, expected: tuple[int, int, object]) -> None:
    """With the id of the request if it is known."""
    answer = post(client, body)
    assert error_of(answer) == expected
    assert answer.headers["content-type"] == "application/json"


def test_a_batch_is_answered_in_order(client: httpx2.Client) -> None:
    """Without what needs no answer, and only in versions that have batches."""
    notification = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    batch = [request("ping", "a"), notification, request("no", 2), {"jsonrpc": "2.0", "id": 3, "result": {}}, 7]
    for version in ({}, {"mcp_protocol_version": "2025-03-26"}):
        answers = post(client, [*batch, request("initialize", 4)], **version).json()
        assert [one["id"] for one in answers] == ["a", 2, None, None]
        codes = [one.get("error", {}).get("code") for one in answers]
        assert codes == [None, METHOD_NOT_FOUND, INVALID_REQUEST, INVALID_REQUEST]
    assert error_of(post(client, batch, mcp_protocol_version="2025-06-18")) == (400, INVALID_REQUEST, None)


@pytest.mark.parametrize("version", ["2025-06-18", STATELESS])
def test_a_notification_has_no_answer(client: httpx2.Client, version: str) -> None:
    """It is accepted, and so are answers, and a batch of nothing else."""
    notification = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    answer = post(client, notification, mcp_protocol_version=version)
    assert (answer.status_code, answer.content) == (202, b"")
    assert post(client, [notification, notification]).status_code == 202


def test_the_version_of_a_request_is_checked(client: httpx2.Client) -> None:
    """An unknown one is refused, with those that are known."""
    answer = post(client, PING, mcp_protocol_version="2001-01-01")
    assert error_of(answer) == (400, UNSUPPORTED_VERSION, None)
    assert STATELESS in answer.json()["error"]["data"]["supported"]
    assert post(client, PING, mcp_protocol_version="2025-11-25").json() == {"jsonrpc": "2.0", "id": 1, "result": {}}


def test_the_version_without_a_handshake(client: httpx2.Client) -> None:
    """Each request says what it is in headers, too, and results say that they are complete."""

    def send(message: dict[str, Any], **headers: str) -> httpx2.Response:
        known = {"mcp_protocol_version": STATELESS, "mcp_method": message["method"], **headers}
        return post(client, message, **known)

    found = send(request("server/discover", _meta=ENVELOPE)).json()["result"]
    assert STATELESS in found["supportedVersions"]
    assert (found["resultType"], found["cacheScope"]) == ("complete", "public")
    listing = {**tool_call("list_containers"), "params": {"name": "list_containers", "_meta": ENVELOPE}}
    assert send(listing, mcp_name="list_containers").json()["result"]["resultType"] == "complete"
    assert error_of(send(listing, mcp_name="create_container")) == (400, HEADER_MISMATCH, 1)
    assert error_of(send(listing)) == (400, HEADER_MISMATCH, 1)
    assert error_of(send(request("server/discover", _meta=ENVELOPE), mcp_method="x")) == (400, HEADER_MISMATCH, 1)
    assert error_of(send(request("server/discover"))) == (400, INVALID_PARAMS, 1)
    assert error_of(send(request("initialize", _meta=ENVELOPE))) == (404, METHOD_NOT_FOUND, 1)


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, None, 200),
        ("https://app.example", None, 200),  # cors.origins has it
        ("http://{own}", None, 200),
        ("http://localhost:81", "localhost:81", 200),
        ("http://[::1]:81", "[::1]:81", 200),
        ("https://evil.example", None, 403),
        ("http://evil.example:81", "evil.example:81", 403),  # a name that was made to lead here
        ("http://localhost:3000", None, 403),  # another page of this machine
        ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example", 403),
        ("http://evil@{own}", None, 403),
        ("null", None, 403),
        ("http://[", "[", 403),
    ],
)
def test_pages_of_other_sites_are_refused(
    client: httpx2.Client, berth: Berth, origin: str | None, host: str | None, status: int
) -> None:
    """A browser's page may call it only from an allowed origin, or from Berth's own on loopback."""
    own = berth.rest.removeprefix("http://")
    sent = {} if origin is None else {"origin": origin.format(own=own)}
    answer = post(client, PING, **sent, **({} if host is None else {"host": host}), x_berth_host="evil.example:81")
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["error"]["code"] == "origin_not_allowed"


def test_http_itself_refuses(client: httpx2.Client, berth: Berth) -> None:
    """Without a key, with another method, with another type, and with a body that is too large."""
    answer = httpx2.post(f"{berth.rest}{PATH}", json=PING, timeout=30)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="berth"')
    for method in ("GET", "DELETE", "PUT"):
        answer = client.request(method, PATH)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert post(client, PING, content_type="text/plain").status_code == 415
    for body in (request("ping", a="x" * 1_048_576), request("ping", a=[1] * 10_001)):
        answer = post(client, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_too_large")


async def test_a_client_that_goes_away_amid_a_body_is_forgotten(berth: Berth) -> None:
    """Its call ends, and the next one is answered."""
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY_A}\r\ncontent-type: application/json\r\n"
    gone = f"{head}x-request-id: gone\r\ncontent-length: 1000\r\n\r\n{{"
    # Envoy begins no call for a head and an end that it reads at once: the client comes again until Berth saw it.
    logged = {"event": "call.finished", "request_id": "gone", "status": "CANCELLED"}.items()
    async with asyncio.timeout(60):
        while not any(logged <= event.items() for event in berth.events()):
            assert (await exchange(berth.rest, [gone.encode()], is_whole=False)).status == 0
    body = json.dumps(PING)
    answer = await exchange(berth.rest, [f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()])
    assert answer.json()["result"] == {}


def test_without_a_sandbox_files_can_be_used(client: httpx2.Client) -> None:
    """What cannot be done is said to the model, with what can be done."""
    box = call(client, "create_container")["container_id"]
    call(client, "write_file", container_id=box, path="a.txt", text="there")
    message, error = failed(client, "run_command", container_id=box, command="true")
    assert error["code"] == "exec_unsupported"
    assert "Files can still be written and read" in message
    assert call(client, "read_file", container_id=box, path="a.txt")["text"] == "there"
