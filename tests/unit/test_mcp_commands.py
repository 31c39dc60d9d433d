"""Commands that are run with tools of MCP."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from berth.core.background import BackgroundTasks
from berth.rpc.mcp.tools.commands import command_tools
from berth.rpc.mcp.tools.tool import ToolCall
from berth.v1.container_exec_service_pb2 import ListContainerExecsRequest
from support.servers.execs import OURS, ExecWorld, box, of
from support.servers.hosted import Kept


class Unlimited:
    """Operations without admission and limits."""

    async def run(self, _: str, request: Any, work: Any, *, within: Any, is_counted: bool) -> Any:  # noqa: ARG002
        """Do the work."""
        return await work(request, within)


@pytest.mark.parametrize(("ends_with_caller", "outcome"), [(True, "cancelled"), (False, "exit")])
async def test_who_disconnects_before_the_start(
    kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch, *, ends_with_caller: bool, outcome: str
) -> None:
    """A command that is not started yet when its caller disconnects ends at its start, if the caller wants that."""
    background, start = BackgroundTasks(), world.store.start
    entered, may_start, started = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def start_late(*arguments: Any, **named: Any) -> Any:
        entered.set()
        await may_start.wait()
        before = await start(*arguments, **named)
        started.set()
        return before

    monkeypatch.setattr(world.store, "start", start_late)
    (tool,) = (tool for tool in command_tools(background) if tool.name == "run_command")
    within = cast("Any", SimpleNamespace(execs=world.execs, caller=OURS))
    call = ToolCall(cast("Any", Unlimited()), within, ends_with_caller=ends_with_caller)
    command = "sleep 60" if ends_with_caller else "true"
    container_id = await box(kept)
    asked = asyncio.create_task(tool.call({"container_id": container_id, "command": command}, call))
    await entered.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    may_start.set()
    await background.drain(10)
    async with asyncio.timeout(30):
        await started.wait()
        (found,) = await listed(world, container_id)
        result = await world.execs.retrieve_container_exec(OURS, of(found), is_awaited=True)
    assert result.outcome.type == outcome


async def listed(world: ExecWorld, container_id: str) -> Any:
    """Return the commands of a container."""
    return (await world.execs.list_container_execs(OURS, ListContainerExecsRequest(container_id=container_id))).data
