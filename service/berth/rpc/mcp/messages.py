"""The messages of JSON-RPC 2.0 as MCP uses them: requests, notifications, answers and errors."""

import re
from dataclasses import dataclass
from typing import Any

from berth.rpc.bodies.json_text import RepeatedNames

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022
"""Codes that MCP defines from the version 2026-07-28 on."""
_VERSION = "2.0"
_SURROGATE = re.compile("[\ud800-\udfff]")
"""What no answer can carry in UTF-8."""

Json = dict[str, Any]
RequestId = str | int


class RpcError(Exception):
    """An error that is answered as JSON-RPC defines."""

    def __init__(self, code: int, message: str, data: Json | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True)
class Message:
    """A request, or a notification if `id` is None."""

    method: str
    params: Json
    id: RequestId | None


def read_message(value: object) -> Message | None:
    """Return the request or notification in `value`, None for an answer, to which there is nothing to say.

    RpcError (INVALID_REQUEST) for anything else.
    """
    if not isinstance(value, dict):
        raise RpcError(INVALID_REQUEST, "A message must be an object.")
    if isinstance(value, RepeatedNames):
        raise RpcError(INVALID_REQUEST, "A message must not have a name twice.")
    if value.get("jsonrpc") != _VERSION:
        raise RpcError(INVALID_REQUEST, "A message must have 'jsonrpc': '2.0'.")
    if "method" not in value and ("result" in value or "error" in value):
        return None
    method, params = value.get("method"), value.get("params", {})
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "A message must have a 'method', which is a string.")
    if not isinstance(params, dict):
        raise RpcError(INVALID_REQUEST, "The 'params' of a message must be an object.")
    return Message(method, params, _id_of(value) if "id" in value else None)


def _id_of(value: Json) -> RequestId:
    """Return the id of a request. RpcError unless it is a string or an integer that can be sent back."""
    id_ = value["id"]
    if isinstance(id_, bool) or not isinstance(id_, str | int) or _SURROGATE.search(str(id_)):
        raise RpcError(INVALID_REQUEST, "The 'id' of a request must be a string or an integer.")
    return id_


def answer(id_: RequestId | None, result: Json) -> Json:
    """Return the answer to a request."""
    return {"jsonrpc": _VERSION, "id": id_, "result": result}


def error_answer(id_: RequestId | None, error: RpcError) -> Json:
    """Return the answer that reports an error; `id_` is None if the id of the request is not known."""
    reported: Json = {"code": error.code, "message": error.message}
    if error.data is not None:
        reported["data"] = error.data
    return {"jsonrpc": _VERSION, "id": id_, "error": reported}
