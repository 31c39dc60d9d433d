"""The handler of McpService."""

from collections.abc import Collection, Iterator
from http import HTTPStatus

from google.api.httpbody_pb2 import HttpBody

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.json_bodies import JSON, read_json
from berth.rpc.call import HTTP_STATUS, Call
from berth.rpc.interceptors.unread import UnreadAnswers
from berth.rpc.json_methods import body_bytes
from berth.rpc.mcp.headers import check_origin
from berth.rpc.mcp.messages import PARSE_ERROR, RpcError, error_answer
from berth.rpc.mcp.operations import Operations
from berth.rpc.mcp.results import dump
from berth.rpc.mcp.server import Answer, McpServer
from berth.rpc.mcp.tools.tool import ToolCall
from berth.v1.mcp_service_pb2 import SendMcpMessageRequest

_BAD_REQUEST = 400
_CHUNK_BYTES = 262_144


class McpHandlers:
    """Handles McpService with `server`; its tools call `operations`.

    Pages of `origins` may call it from browsers. A message may have `max_json_bytes`.
    """

    def __init__(
        self, server: McpServer, operations: Operations, *, origins: Collection[str], max_json_bytes: int
    ) -> None:
        self._server = server
        self._operations = operations
        self._origins = frozenset(origins)
        self._max_json_bytes = max_json_bytes
        self._unread = UnreadAnswers()

    async def SendMcpMessage(self, request: SendMcpMessageRequest, call: Call) -> None:
        """Write the answer to a message, which is complete when it is written: it is no stream of events."""
        check_origin(call.head.mcp, self._origins)
        self._unread.check(call.caller.tenant)
        status, body = await self._answer(request, call)
        is_other = call.head.is_rest and status != HTTPStatus.OK
        await call.send_headers([(HTTP_STATUS, str(status))] if is_other else [])
        content = b"" if body is None else dump(body).encode()
        with self._unread.sending(call.caller.tenant, len(content)):
            for part in _parts(content):
                await call.write(part)

    async def _answer(self, request: SendMcpMessageRequest, call: Call) -> Answer:
        call.waiting.expect_json()
        bodies = body_bytes(request, call)
        try:
            value = await read_json(request.body.content_type, bodies, maximum=self._max_json_bytes)
        except InvalidRequestError as error:
            if error.code != "invalid_json":
                raise
            return _BAD_REQUEST, error_answer(None, RpcError(PARSE_ERROR, error.message))
        return await self._server.handle(
            value, call.head.mcp, ToolCall(self._operations, within=call, provider=request.provider)
        )


def _parts(content: bytes) -> Iterator[HttpBody]:
    """Yield the messages that carry `content`; the first one has its type, and is there without content, too."""
    yield HttpBody(content_type=JSON, data=content[:_CHUNK_BYTES])
    for start in range(_CHUNK_BYTES, len(content), _CHUNK_BYTES):
        yield HttpBody(data=content[start : start + _CHUNK_BYTES])
