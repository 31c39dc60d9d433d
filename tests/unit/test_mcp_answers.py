"""How large the answers of MCP may become, together and while nothing reads them."""

from typing import Any, cast

import pytest

from berth.core.errors import RateLimitError
from berth.rpc.interceptors.unread import UnreadAnswers
from berth.rpc.mcp.results import result
from berth.rpc.mcp.schemas import inputs
from berth.rpc.mcp.server import MAX_BATCH_CHARACTERS, McpServer
from berth.rpc.mcp.tools.tool import Tool, ToolCall


async def test_the_answers_to_a_batch_are_bounded() -> None:
    """Once they are too large together, what is left of the batch is refused and not run."""
    runs: list[Any] = []

    async def run(arguments: Any, _: ToolCall) -> Any:
        runs.append(arguments)
        return result({"text": "x" * (MAX_BATCH_CHARACTERS // 4)})

    server = McpServer([Tool("large", "Large", "", inputs({}), {}, run)], version="1")
    call = ToolCall(cast("Any", None), within=cast("Any", None))
    batch = [
        {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "large"}} for number in range(4)
    ]
    status, answers = await server.handle(batch, {}, call)
    assert (status, len(runs)) == (200, 2)
    assert isinstance(answers, list)
    assert [answer["id"] for answer in answers] == [0, 1, 2, 3]
    assert ["too large" in answer.get("error", {}).get("message", "") for answer in answers] == [
        False,
        False,
        True,
        True,
    ]


def test_a_tenant_has_some_answers_that_it_does_not_read() -> None:
    """With more it is refused, until some are read; other tenants are not."""
    unread = UnreadAnswers(10)
    with unread.sending("a", 6):
        unread.check("a")
        with unread.sending("a", 4):
            with pytest.raises(RateLimitError) as caught:
                unread.check("a")
            assert caught.value.code == "request_limited"
            unread.check("b")
        unread.check("a")
