"""MCP: messages by hand, and the official client."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

PATH = "/v1/mcp"
STATELESS = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
ENVELOPE = {f"{PREFIX}protocolVersion": STATELESS, f"{PREFIX}clientCapabilities": {}}


def request(method: str, id_: object = 1, **params: object) -> dict[str, Any]:
    """Return a request."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def tool_call(tool: str, id_: object = 1, **arguments: object) -> dict[str, Any]:
    """Return a request to call a tool."""
    return request("tools/call", id_, name=tool, arguments=arguments)


def post(client: httpx2.Client, body: object, **headers: str) -> httpx2.Response:
    """Send a body, which is JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(PATH, content=content, headers={"content-type": "application/json", **named})


def call(client: httpx2.Client, tool: str, **arguments: object) -> dict[str, Any]:
    """Call a tool that has to work; return its structured result."""
    result = post(client, tool_call(tool, **arguments)).json()["result"]
    assert "isError" not in result, result
    structured: dict[str, Any] = result["structuredContent"]
    return structured


def failed(client: httpx2.Client, tool: str, **arguments: object) -> tuple[str, dict[str, Any]]:
    """Call a tool that has to fail; return what the model reads of it, and what programs read."""
    result = post(client, tool_call(tool, **arguments)).json()["result"]
    assert result["isError"] is True
    assert "structuredContent" not in result
    return result["content"][0]["text"], result["_meta"]["berth.v1/error"]


@asynccontextmanager
async def official_client(rest: str, key: str, *, mode: str) -> AsyncIterator[Client]:
    """Connect the official client: with `mode` "legacy" by a handshake, with "auto" by the newest version."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(f"{rest}{PATH}", http_client=http), mode=mode) as client,
    ):
        yield client
