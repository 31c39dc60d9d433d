"""What a tool is: its name and description for a model, its schemas, and the function that runs it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from berth.rpc.call import Call
from berth.rpc.mcp.operations import Operations
from berth.rpc.mcp.schemas import check_arguments
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

Json = dict[str, Any]
T = TypeVar("T")

READS: Mapping[str, bool] = {"readOnlyHint": True, "openWorldHint": False}
ADDS: Mapping[str, bool] = {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}
CHANGES: Mapping[str, bool] = {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": False}
"""Annotations: what a tool does to what exists. None of them reaches beyond the container."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, within a call of MCP, which names a `provider` or not.

    `is_counted` is whether its operations are requests of their own, besides the one of the call; `ends_with_caller`
    whether a caller who disconnects wants it to end.
    """

    operations: Operations
    within: Call
    provider: Provider = PROVIDER_UNSPECIFIED
    is_counted: bool = False
    ends_with_caller: bool = False

    async def run(self, name: str, request: Any, work: Callable[[Any, Call], Awaitable[T]]) -> T:
        """Call an operation of the contract; see Operations."""
        return await self.operations.run(name, request, work, within=self.within, is_counted=self.is_counted)


Run = Callable[[Json, ToolCall], Awaitable[Json]]
"""Takes the arguments of a tool, and returns its result. BerthError is what the model is to read."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. `inputs` and `outputs` are the JSON schemas of its arguments and of its structured result."""

    name: str
    title: str
    description: str
    inputs: Json
    outputs: Json
    run: Run = field(repr=False)
    annotations: Mapping[str, bool] = field(default_factory=lambda: ADDS)

    def described(self) -> Json:
        """Return the tool as `tools/list` shows it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": self.inputs,
            "outputSchema": self.outputs,
            "annotations": {"title": self.title, **self.annotations},
        }

    async def call(self, arguments: Mapping[str, object], call: ToolCall) -> Json:
        """Run the tool. InvalidRequestError if the arguments do not match `inputs`; what `run` raises."""
        return await self.run(check_arguments(arguments, self.inputs), call)
