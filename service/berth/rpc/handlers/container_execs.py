"""The handlers of ContainerExecService."""

from contextlib import aclosing
from typing import Any

from berth.rpc.call import Call
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    FollowContainerExecRequest,
    ListContainerExecsRequest,
    ListContainerExecsResponse,
    RetrieveContainerExecRequest,
    StreamContainerExecRequest,
)
from berth.v1.exec_pb2 import Exec

_STREAM_HEADERS = (
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),
)
"""Proxies must neither keep nor gather the events of a stream."""


class ContainerExecHandlers:
    """Handles ContainerExecService with the backend that admission chose."""

    async def CreateContainerExec(self, request: CreateContainerExecRequest, call: Call) -> Exec:
        """Run a command, and return its exec once it has ended, or at once in the background."""
        exec_ = await call.execs.create_container_exec(call.caller, request)
        is_replayed = exec_.extra_fields.idempotent_replayed
        if request.background and not is_replayed:
            return exec_
        asked = RetrieveContainerExecRequest(container_id=request.container_id, exec_id=exec_.id)
        ended = await call.execs.retrieve_container_exec(call.caller, asked, is_awaited=not request.background)
        if is_replayed:
            ended.extra_fields.idempotent_replayed = True
        return ended

    async def StreamContainerExec(self, request: StreamContainerExecRequest, call: Call) -> None:
        """Run a command and write its events."""
        exec_ = await call.execs.stream_container_exec(call.caller, request)
        call.outcome.is_replayed = exec_.extra_fields.idempotent_replayed
        await self._follow(FollowContainerExecRequest(container_id=request.container_id, exec_id=exec_.id), call)

    async def ListContainerExecs(self, request: ListContainerExecsRequest, call: Call) -> ListContainerExecsResponse:
        """Return a page of the execs of a container."""
        return await call.execs.list_container_execs(call.caller, request)

    async def RetrieveContainerExec(self, request: RetrieveContainerExecRequest, call: Call) -> Exec:
        """Return an exec."""
        return await call.execs.retrieve_container_exec(call.caller, request)

    async def FollowContainerExec(self, request: FollowContainerExecRequest, call: Call) -> None:
        """Write the events of an exec."""
        await self._follow(request, call)

    async def CancelContainerExec(self, request: CancelContainerExecRequest, call: Call) -> Exec:
        """End a command."""
        return await call.execs.cancel_container_exec(call.caller, request)

    async def _follow(self, request: FollowContainerExecRequest, call: Call) -> None:
        events: Any = await call.execs.follow_container_exec(call.caller, request)
        async with aclosing(events):
            await call.send_headers(list(_STREAM_HEADERS))
            async for event in events:
                await call.send_event(event)
                if call.head.is_head:
                    return
