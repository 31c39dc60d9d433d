"""Models work in containers over MCP: with the official client, through Envoy, in the real sandbox."""

import asyncio
import base64
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ImageContent, TextContent

from support.clients.mcp import call, failed, official_client, post, tool_call
from support.clients.polling import wait_until
from support.servers.berth import KEY_A, KEY_B, SETTINGS, Berth, running

pytestmark = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user cannot make namespaces, which a sandbox consists of",
)
KEY_LIMITED = "sk-bf-limited"
LIMITS = {"max_in_flight": 1, "requests_per_minute": 100, "operations": {"exec": {"requests_per_minute": 2}}}
DRAW = """
import csv, struct, zlib

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

rows = list(csv.DictReader(open("in/data.csv")))
pixels = b"".join(b"\\0" + b"\\xff\\0\\0" * int(row["b"]) + bytes(3 * (8 - int(row["b"]))) for row in rows)
header = struct.pack(">IIBBBBB", 8, len(rows), 8, 2, 0, 0, 0)
parts = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
open("bars.png", "wb").write(b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(chunk(*part) for part in parts))
print(len(rows), "rows")
"""


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth with the real sandbox and a key that has limits."""
    auth: Any = SETTINGS["auth"]
    limited = {"name": "limited", "value": KEY_LIMITED, "tenant": "c", **LIMITS}
    settings = SETTINGS | {
        "auth": auth | {"virtual_keys": [*auth["virtual_keys"], limited]},
        "exec": {"accept_shared_kernel": True},
    }
    with running(tmp_path_factory.mktemp("mcp"), settings, inside=("env", "BERTH_EXEC__DRIVER=auto")) as berth:
        yield berth


def connected(berth: Berth, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {key}"}, timeout=60)


@pytest.fixture
def client(berth: Berth) -> Iterator[httpx2.Client]:
    with connected(berth, KEY_A) as client:
        yield client


@pytest.fixture
def container(client: httpx2.Client) -> str:
    """Return the id of a new container."""
    return str(call(client, "create_container")["container_id"])


async def use(client: Client, tool: str, **arguments: object) -> CallToolResult:
    """Call a tool with the official client, which checks the result by the schema of the tool."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert not result.is_error, result
    return result


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
async def test_a_model_runs_python_over_its_files(berth: Berth, mode: str, version: str) -> None:
    """It creates a container, writes a table, runs Python over it, lists what is there, and sees the picture."""
    async with official_client(berth.rest, KEY_A, mode=mode) as client:
        assert (client.protocol_version, client.server_info.name if client.server_info else None) == (version, "berth")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"create_container", "run_command", "run_python", "write_file", "read_file", "list_files"} <= set(tools)
        assert all(tool.description and tool.output_schema and tool.annotations for tool in tools.values())
        made: Any = (await use(client, "create_container", name="box", memory_limit="1g")).structured_content
        box = made["container_id"]
        await use(client, "write_file", container_id=box, path="in/data.csv", text="a,b\nx,2\ny,7\n")
        done = await use(client, "run_python", container_id=box, source=DRAW)
        assert "2 rows" in text_of(done)
        assert "/mnt/data/bars.png" in text_of(done)
        facts: Any = done.structured_content
        assert (facts["stdout"], facts["outcome"]) == ("2 rows\n", {"type": "exit", "exit_code": 0})
        listed: Any = (await use(client, "list_files", container_id=box)).structured_content
        assert [file["path"] for file in listed["files"]] == ["/mnt/data/bars.png", "/mnt/data/in/data.csv"]
        (picture,) = (await use(client, "read_file", container_id=box, path="bars.png")).content
        assert isinstance(picture, ImageContent)
        assert picture.mime_type == "image/png"
        assert base64.b64decode(picture.data).startswith(b"\x89PNG")


async def test_a_tool_that_does_not_exist_is_an_error_of_the_protocol(berth: Berth) -> None:
    """The client raises it, and it suggests the right name."""
    async with official_client(berth.rest, KEY_A, mode="auto") as client:
        with pytest.raises(MCPError, match="did you mean 'run_python'"):
            await client.call_tool("run_pyton", {})


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_wrong_key_does_not_connect(berth: Berth, mode: str) -> None:
    """The client fails to connect."""
    with pytest.raises(ExceptionGroup) as raised:
        async with official_client(berth.rest, "sk-bf-wrong", mode=mode):
            pass
    assert raised.group_contains(MCPError)


async def test_a_session_keeps_variables(berth: Berth) -> None:
    """The value of the last line is shown, variables stay, and the model reads that they are lost."""
    async with official_client(berth.rest, KEY_A, mode="auto") as client:
        made: Any = (await use(client, "create_container")).structured_content
        box = {"container_id": made["container_id"]}
        await use(client, "run_python", **box, source="x = 6", session="default")
        shown: Any = (await use(client, "run_python", **box, source="x * 7", session="default")).structured_content
        assert (shown["stdout"], "session_restarted" in shown) == ("42\n", False)
        await use(client, "run_python", **box, source="import os; os._exit(1)", session="default")
        lost = await use(client, "run_python", **box, source="x", session="default")
        facts: Any = lost.structured_content
        assert (facts["session_restarted"], facts["outcome"]["exit_code"]) == (True, 1)
        assert "The session began anew" in text_of(lost)
        other: Any = (await use(client, "run_python", **box, source="print(1)")).structured_content
        assert (other["stdout"], "session_restarted" in other) == ("1\n", False)


async def test_a_model_reads_that_output_is_missing(berth: Berth, container: str) -> None:
    """What a command printed beyond the limit of the service is gone, and the end that is shown is not that of all."""
    async with official_client(berth.rest, KEY_A, mode="auto") as client:
        for count, is_missing in ((1_048_576, False), (1_048_577, True)):
            done = await use(client, "run_command", container_id=container, command=f"yes | head -c {count}")
            assert ("the end of its output is missing" in text_of(done)) == is_missing


def test_a_failing_command_is_a_result(client: httpx2.Client, container: str) -> None:
    """So are a timeout, and output whose middle is left out; the model reads how it ended."""
    done = call(
        client, "run_command", container_id=container, command="cat; echo $A >&2; exit 3", stdin="in", env={"A": "err"}
    )
    assert (done["stdout"], done["stderr"], done["outcome"]) == ("in", "err\n", {"type": "exit", "exit_code": 3})
    done = call(client, "run_command", container_id=container, command="sleep 60", timeout_ms=100)
    assert done["outcome"] == {"type": "timeout"}
    done = call(client, "run_command", container_id=container, command="seq 1 9999", max_output_length=20)
    assert done["truncated"]
    assert done["stdout"].startswith("1\n2\n3\n")
    assert done["stdout"].endswith("9998\n9999\n")


def test_files_are_written_and_read(client: httpx2.Client, container: str) -> None:
    """By path and by id, as text and as base64, in parts, and again in place of what was there."""
    first = call(client, "write_file", container_id=container, path="/mnt/data/a/b.txt", text="old")
    assert first["path"] == "/mnt/data/a/b.txt"
    written = call(client, "write_file", container_id=container, path="a/b.txt", text="gräßlich")
    assert (written["file_id"], written["bytes"]) == (first["file_id"], len("gräßlich".encode()))
    read = call(client, "read_file", container_id=container, path=written["file_id"])
    assert (read["text"], read["mime_type"]) == ("gräßlich", "text/plain")
    part = call(client, "read_file", container_id=container, path="a/b.txt", offset=1, length=2)
    assert (part["text"], part["length"]) == ("r", 1)  # not half of the next character
    for content in (bytes(range(256)), b"a\0b", "ä".encode()[:1]):
        data = base64.b64encode(content).decode()
        call(client, "write_file", container_id=container, path="c.bin", base64=data)
        assert call(client, "read_file", container_id=container, path="c.bin")["base64"] == data
    assert len(call(client, "list_files", container_id=container, limit=1)["files"]) == 1
    call(client, "run_command", container_id=container, command="head -c 300000 /dev/zero | tr '\\0' x > large.txt")
    message, error = failed(client, "read_file", container_id=container, path="large.txt")
    assert "at most 262144" in message
    assert error["code"] == "file_too_large"
    tail = call(client, "read_file", container_id=container, path="large.txt", offset=299_000)
    assert (tail["offset"], tail["text"]) == (299_000, "x" * 1000)


@pytest.mark.parametrize(
    ("given", "meant"),
    [({"cmd": "true"}, "command"), ({"command": "true", "tiemout_ms": 1}, "timeout_ms"), ({"script": "1"}, "command")],
)
def test_a_wrong_argument_hints_at_the_missing_one(
    given: dict[str, object], meant: str, client: httpx2.Client, container: str
) -> None:
    """A model that names an argument otherwise finds the one that is needed in the error."""
    message, error = failed(client, "run_command", container_id=container, **given)
    assert (error["code"], f"did you mean '{meant}'?" in message) == ("unknown_parameter", True), message


def test_errors_of_tools_are_for_the_model(client: httpx2.Client, container: str, berth: Berth) -> None:
    """They are results that say what is wrong and name the argument."""
    box, code = {"container_id": container}, "code"
    for tool, arguments, expected in (
        ("run_command", {**box, "command": 7}, {code: "invalid_type", "param": "command"}),
        ("run_command", {"command": "true"}, {code: "missing_required_parameter", "param": "container_id"}),
        ("run_command", {**box, "command": "true", "tiemout_ms": 1}, {code: "unknown_parameter"}),
        ("run_command", {**box, "command": "true", "timeout_ms": 0}, {code: "integer_below_min_value"}),
        ("run_command", {**box, "command": "true", "timeout_ms": 10**8}, {code: "integer_above_max_value"}),
        ("run_command", {**box, "command": "true", "timeout_ms": 1.5}, {code: "invalid_type"}),
        ("run_command", {**box, "command": "true", "timeout_ms": 10**30}, {code: "invalid_type"}),
        ("run_command", {**box, "command": "true", "cwd": "../x"}, {code: "invalid_value", "param": "cwd"}),
        ("run_command", {**box, "command": "true", "env": {"A": 1}}, {code: "invalid_type", "param": "env.A"}),
        ("run_command", {**box, "command": "true", "env": []}, {code: "invalid_type", "param": "env"}),
        ("run_command", {**box, "command": "\ud800"}, {code: "invalid_value", "param": "command"}),
        ("run_python", {**box, "source": ""}, {"param": "source"}),
        ("run_python", {**box, "source": "1", "session": "a b"}, {code: "invalid_value", "param": "session"}),
        ("run_python", {**box, "source": "1", "session": ""}, {"param": "session"}),
        ("run_python", {**box, "source": "1", "session": 7}, {code: "invalid_type", "param": "session"}),
        ("create_container", {"memory_limit": "2g"}, {"param": "memory_limit"}),
        ("create_container", {"expires_after_minutes": 10**6}, {"param": "expires_after_minutes"}),
        ("create_container", {"provider": "olama"}, {"param": "provider"}),
        ("write_file", {**box, "path": "../x", "text": ""}, {"param": "path"}),
        ("write_file", {**box, "path": "x"}, {"param": "text"}),
        ("write_file", {**box, "path": "x", "text": "", "base64": ""}, {"param": "base64"}),
        ("write_file", {**box, "path": "x", "base64": "%"}, {"param": "base64"}),
        ("read_file", {**box, "path": "x"}, {code: "container_file_not_found"}),
        ("read_file", {**box, "path": "cfile_x"}, {code: "container_file_not_found"}),
        ("delete_container", {"container_id": "cntr_x"}, {code: "container_not_found", "status_code": 404}),
    ):
        message, error = failed(client, tool, **arguments)
        assert message
        assert expected.items() <= error.items(), (tool, arguments, error)
    with connected(berth, KEY_B) as stranger:
        for tool in ("list_files", "delete_container"):
            assert failed(stranger, tool, **box)[1]["code"] == "container_not_found"
        message, error = failed(stranger, "run_command", **box, command="true")
        assert (error["code"], "list_containers" in message) == ("container_not_found", True)
    call(client, "delete_container", **box)
    assert failed(client, "run_python", **box, source="1")[1]["code"] == "container_not_found"


def test_a_provider_is_chosen(berth: Berth, client: httpx2.Client) -> None:
    """It is the named one, that of the address, the default one, or one that the key may use."""
    assert call(client, "create_container")["provider"] == "ollama"
    assert call(client, "create_container", provider="groq")["provider"] == "groq"
    with httpx2.Client(base_url=berth.rest, headers=client.headers, timeout=30) as other:
        made = other.post("/v1/mcp?provider=mistral", json=tool_call("create_container")).json()["result"]
        assert made["structuredContent"]["provider"] == "mistral"
        made = other.post("/openai/v1/mcp", json=tool_call("create_container")).json()["result"]
        assert made["structuredContent"]["provider"] == "openai"
    with connected(berth, "sk-bf-only-groq") as limited:
        assert call(limited, "create_container")["provider"] == "groq"
        assert failed(limited, "create_container", provider="ollama")[1]["code"] == "provider_blocked"
    first = call(client, "list_containers", limit=1)
    assert first["has_more"]
    after = first["containers"][0]["container_id"]
    assert call(client, "list_containers", limit=1, after=after)["containers"] != first["containers"]


def test_limits_count_each_operation_once(berth: Berth) -> None:
    """A key with one call at a time can use tools; each message is a request, and so is each further one of a batch."""
    with connected(berth, KEY_LIMITED) as client:
        answer = post(client, tool_call("create_container"))
        assert answer.headers["x-ratelimit-remaining-requests"] == "99"
        box = answer.json()["result"]["structuredContent"]["container_id"]
        batch = [tool_call("list_files", number, container_id=box) for number in range(3)]
        assert post(client, batch).headers["x-ratelimit-remaining-requests"] == "98"
        answer = post(client, tool_call("run_command", container_id=box, command="true"))
        assert answer.headers["x-ratelimit-remaining-requests"] == "95"
        call(client, "run_command", container_id=box, command="true")
        message, error = failed(client, "run_command", container_id=box, command="true")
        assert error["code"] == "rate_limited"
        assert error["retry_after_seconds"] > 0
        assert "2 per minute" in message


def test_the_log_says_what_a_tool_did(client: httpx2.Client, berth: Berth) -> None:
    """There are the same events of the audit trail as for other calls, with the id of the request."""
    sent = {"x_request_id": "made-by-a-model"}
    made = post(client, tool_call("create_container"), **sent).json()["result"]["structuredContent"]
    post(client, tool_call("run_command", container_id=made["container_id"], command="true"), **sent)
    by: dict[str, Any] = {"tenant": "a", "caller": "a", "request_id": "made-by-a-model", "provider": "ollama"}
    box: dict[str, Any] = {"container_id": made["container_id"], "audit": True}
    (created,) = berth.lines(event="container.created", **by, **box)
    (started,) = berth.lines(event="exec.started", **by, **box)
    assert started["source"] == created["source"] == "127.0.0.1"
    done = {line["operation"]: line["status"] for line in berth.lines(2, event="operation.finished", **by)}
    assert done == {"container_create": "OK", "container_exec_create": "OK"}
    assert len(berth.lines(2, event="call.finished", method="/berth.v1.McpService/SendMcpMessage", **by)) == 2


async def test_who_disconnects_ends_the_command(berth: Berth, client: httpx2.Client, container: str) -> None:
    """In the version without a handshake: that is how a client cancels a request there."""
    async with official_client(berth.rest, KEY_A, mode="auto") as official:
        running_ = asyncio.create_task(official.call_tool("run_command", {"container_id": container, "command": SLEEP}))
        await asyncio.to_thread(wait_until, lambda: statuses(client, container) == ["running"])
        assert failed(client, "run_command", container_id=container, command="true")[1]["code"] == "container_busy"
        running_.cancel()
        await asyncio.to_thread(wait_until, lambda: statuses(client, container) == ["completed"])
        (ended,) = client.get(f"/v1/containers/{container}/execs").json()["data"]
        assert ended["outcome"] == {"type": "cancelled"}


async def test_who_disconnects_leaves_the_command(berth: Berth, client: httpx2.Client, container: str) -> None:
    """In other versions a lost connection cancels nothing."""
    async with httpx2.AsyncClient(base_url=berth.rest, headers=client.headers, timeout=60) as impatient:
        asked = impatient.post("/v1/mcp", json=tool_call("run_command", container_id=container, command=SLEEP))
        waiting = asyncio.create_task(asked)
        await asyncio.to_thread(wait_until, lambda: statuses(client, container) == ["running"])
        waiting.cancel()
    berth.lines(event="operation.finished", operation="container_exec_create", status="CANCELLED")
    assert statuses(client, container) == ["running"]
    call(client, "delete_container", container_id=container)


SLEEP = "sleep 300"


def statuses(client: httpx2.Client, container: str) -> list[str]:
    """Return the states of the commands of a container."""
    return [one["status"] for one in client.get(f"/v1/containers/{container}/execs").json()["data"]]
