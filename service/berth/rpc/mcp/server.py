"""The methods of MCP: which there are, and what they answer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from berth.core.errors import BerthError
from berth.core.validation import did_you_mean, shown
from berth.rpc.mcp.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    UNSUPPORTED_VERSION,
    Json,
    Message,
    RpcError,
    answer,
    error_answer,
    read_message,
)
from berth.rpc.mcp.results import dump, error_result
from berth.rpc.mcp.tools.tool import Tool, ToolCall
from berth.rpc.mcp.versions import SERVER_INFO, STATELESS, SUPPORTED, WITH_BATCHES, agreed, check_envelope, version_of

MAX_MESSAGES = 50
"""How many messages a batch may have."""
MAX_BATCH_CHARACTERS = 16 * 1024 * 1024
"""How much the answers to a batch may have together: once they have more, its other requests are refused."""
INSTRUCTIONS = (
    "Berth runs code in isolated containers that have files. Create a container first, put files into it, run code on "
    "them, and read the files that the code makes. Files stay until the container expires or is deleted."
)
_LISTED_MS = 300_000
"""How long clients may remember which tools there are."""
_OK, _ACCEPTED, _BAD_REQUEST, _NOT_FOUND = 200, 202, 400, 404
_STATUSES = {
    **dict.fromkeys((PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, HEADER_MISMATCH, UNSUPPORTED_VERSION), _BAD_REQUEST),
    METHOD_NOT_FOUND: _NOT_FOUND,
}
"""The HTTP status of an error, in the version STATELESS; before it, that of an answer to a request is always 200."""
_BATCH_TOO_LARGE = "The answers to this batch are too large: send fewer messages at a time."
Answer = tuple[int, Json | list[Json] | None]
"""The HTTP status, and the body if there is one."""
Serve = Callable[[Message, ToolCall], Awaitable[Json]]


class McpServer:
    """Answers messages of MCP. It has no sessions: each message is understood by itself."""

    def __init__(self, tools: Iterable[Tool], *, version: str) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._info = {"name": "berth", "title": "Berth", "version": version}
        self._listed = [tool.described() for tool in self._tools.values()]
        self._handshake: Mapping[str, Serve] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
        }
        self._stateless: Mapping[str, Serve] = {
            "server/discover": self._discover,
            "tools/list": self._list_tools,
            "tools/call": self._call_tool,
        }

    async def handle(self, value: object, headers: Mapping[str, str], call: ToolCall) -> Answer:
        """Return what is answered to the body of a request with the MCP `headers`."""
        try:
            version = version_of(headers)
            if isinstance(value, list):
                return await self._handle_batch(_checked_batch(value, version), call)
            message = read_message(value)
        except RpcError as error:
            return _BAD_REQUEST, error_answer(None, error)
        if message is None or message.id is None:
            return _ACCEPTED, None
        if version == STATELESS:
            return await self._handle_stateless(message, headers, call)
        return _OK, await self._answered(message, call)

    async def _handle_batch(self, batch: list[object], call: ToolCall) -> Answer:
        """Answer the messages one after the other: later ones may need what earlier ones do."""
        answers: list[Json] = []
        size = 0
        for value in batch:
            try:
                message = _read_part(value)
            except RpcError as error:
                answers.append(error_answer(None, error))
                continue
            if message is None or message.id is None:
                continue
            if size > MAX_BATCH_CHARACTERS:
                answers.append(error_answer(message.id, RpcError(INVALID_REQUEST, _BATCH_TOO_LARGE)))
                continue
            answers.append(await self._answered(message, call))
            size += len(dump(answers[-1]))
            call = replace(call, is_counted=True)
        return (_OK, answers) if answers else (_ACCEPTED, None)

    async def _answered(self, message: Message, call: ToolCall) -> Json:
        try:
            serve = self._handshake.get(message.method)
            if serve is None:
                raise _unknown_method(message, self._handshake)
            return answer(message.id, await serve(message, call))
        except RpcError as error:
            return error_answer(message.id, error)

    async def _handle_stateless(self, message: Message, headers: Mapping[str, str], call: ToolCall) -> Answer:
        try:
            check_envelope(message, headers)
            serve = self._stateless.get(message.method)
            if serve is None:
                raise _unknown_method(message, self._stateless)
            result = await serve(message, replace(call, ends_with_caller=True))
        except RpcError as error:
            return _STATUSES[error.code], error_answer(message.id, error)
        meta = {**result.get("_meta", {}), SERVER_INFO: self._info}
        known = {} if message.method == "tools/call" else {"ttlMs": _LISTED_MS, "cacheScope": "public"}
        return _OK, answer(message.id, {**result, **known, "resultType": "complete", "_meta": meta})

    async def _initialize(self, message: Message, _: ToolCall) -> Json:
        return {
            "protocolVersion": agreed(message.params.get("protocolVersion")),
            "capabilities": {"tools": {}},
            "serverInfo": self._info,
            "instructions": INSTRUCTIONS,
        }

    async def _discover(self, _: Message, __: ToolCall) -> Json:
        return {"supportedVersions": list(SUPPORTED), "capabilities": {"tools": {}}, "instructions": INSTRUCTIONS}

    async def _ping(self, _: Message, __: ToolCall) -> Json:
        return {}

    async def _list_tools(self, message: Message, _: ToolCall) -> Json:
        if message.params.get("cursor") is not None:
            raise RpcError(INVALID_PARAMS, "Invalid 'cursor': all tools are on the first page.")
        return {"tools": self._listed}

    async def _call_tool(self, message: Message, call: ToolCall) -> Json:
        name, arguments = message.params.get("name"), message.params.get("arguments")
        if not isinstance(name, str):
            raise RpcError(INVALID_PARAMS, "Invalid 'name': expected the name of a tool.")
        tool = self._tools.get(name)
        if tool is None:
            raise RpcError(INVALID_PARAMS, f"Unknown tool: '{shown(name)}'{did_you_mean(name, self._tools) or '.'}")
        if arguments is not None and not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "Invalid 'arguments': expected an object.")
        try:
            return await tool.call(arguments or {}, call)
        except BerthError as error:
            return error_result(error)


def _checked_batch(batch: list[object], version: str) -> list[object]:
    if version not in WITH_BATCHES:
        raise RpcError(INVALID_REQUEST, f"The version {version} of MCP has no batches: send one message at a time.")
    if not 0 < len(batch) <= MAX_MESSAGES:
        raise RpcError(INVALID_REQUEST, f"A batch must have 1 to {MAX_MESSAGES} messages.")
    return batch


def _read_part(value: object) -> Message | None:
    """Return a message of a batch. RpcError for `initialize`: what follows depends on its answer."""
    message = read_message(value)
    if message is not None and message.method == "initialize":
        raise RpcError(INVALID_REQUEST, "The message 'initialize' must not be part of a batch.")
    return message


def _unknown_method(message: Message, known: Iterable[str]) -> RpcError:
    hint = did_you_mean(message.method, known) or "."
    return RpcError(METHOD_NOT_FOUND, f"Unknown method: '{shown(message.method)}'{hint}")
