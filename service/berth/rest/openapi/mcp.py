"""MCP: one operation, with the messages of another protocol."""

from typing import Any

Json = dict[str, Any]

MCP_METHOD = "SendMcpMessage"
_MESSAGE = {"type": ["object", "array"], "description": "JSON-RPC 2.0: a message, or a batch where MCP has them."}
_EXAMPLES: dict[str, Json] = {
    "the tools": {"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
    "a tool": {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "create_container", "arguments": {"name": "my-container"}},
    },
}
_ANSWER = {"jsonrpc": "2.0", "id": 2, "result": {"content": [{"type": "text", "text": "hello.txt\n"}]}}
_FAULT = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "A message must have 'jsonrpc': '2.0'."}}
_OF_EITHER = "A fault of the protocol in the form of JSON-RPC, or an error of Berth."


def mcp_body() -> Json:
    """Return the body of a request."""
    examples = {name: {"value": value} for name, value in _EXAMPLES.items()}
    return {"required": True, "content": {"application/json": {"schema": _MESSAGE, "examples": examples}}}


def mcp_answers(headers: Json, errors: Json) -> Json:
    """Return the answers by status; `errors` are those of other operations, `headers` those of every answer."""
    content, fault = ({"application/json": {"schema": _MESSAGE, "example": one}} for one in (_ANSWER, _FAULT))
    either = {status: {"description": _OF_EITHER, "headers": headers, "content": fault} for status in ("400", "404")}
    return {
        "200": {"description": "The answer to a request.", "headers": headers, "content": content},
        "202": {"description": "A notification has no answer.", "headers": headers},
        **errors,
        **either,
    }
