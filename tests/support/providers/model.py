"""A model on a loopback socket: it calls tools as a script says, in chat completions or responses, and then answers."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class ScriptedModel:
    """Its URL, the calls that it makes one after the other, and the results that it was given."""

    calls: list[Mapping[str, Any]]
    """For chat completions a `name` and `arguments`, for responses the item of a tool call without its ids."""
    url: str = ""
    results: list[Any] = field(default_factory=list)

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat completion."""
        asked = await request.json()
        self.results = [message["content"] for message in asked["messages"] if message["role"] == "tool"]
        message: dict[str, Any] = {"role": "assistant", "content": self._said}
        if (call := self._next) is not None:
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
            calls = [{"id": f"call_{len(self.results)}", "type": "function", "function": function}]
            message = {"role": "assistant", "content": None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "stop" if call is None else "tool_calls"}
        return web.json_response(
            {"id": "chat_1", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [choice]}
        )

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer a request for a response."""
        asked = await request.json()
        items = [] if isinstance(asked["input"], str) else asked["input"]
        self.results = [item["output"] for item in items if item.get("type", "").endswith("_call_output")]
        text = {"type": "output_text", "text": self._said, "annotations": []}
        item: dict[str, Any] = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
        if (call := self._next) is not None:
            number = len(self.results)
            item = {"id": f"item_{number}", "call_id": f"call_{number}", **call}
        return web.json_response(
            {
                "id": "resp_1",
                "object": "response",
                "created_at": 1,
                "model": asked["model"],
                "status": "completed",
                "output": [item | {"status": "completed"}],
                "parallel_tool_calls": True,
                "tool_choice": "auto",
                "tools": [],
            }
        )

    @property
    def _next(self) -> Mapping[str, Any] | None:
        return self.calls[len(self.results)] if len(self.results) < len(self.calls) else None

    @property
    def _said(self) -> str:
        return f"It was done in {len(self.results)} steps."


@asynccontextmanager
async def scripted_model(*calls: Mapping[str, Any]) -> AsyncIterator[ScriptedModel]:
    """Run a model on a free port."""
    model = ScriptedModel([*calls])
    app = web.Application()
    app.router.add_post("/v1/chat/completions", model.complete)
    app.router.add_post("/v1/responses", model.respond)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield model
    finally:
        await runner.cleanup()
