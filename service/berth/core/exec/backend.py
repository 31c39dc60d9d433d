"""ExecBackend: the port that handlers use for running commands in containers."""

from collections.abc import AsyncIterator
from typing import Protocol

from berth.core.caller import Caller
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    FollowContainerExecRequest,
    ListContainerExecsRequest,
    ListContainerExecsResponse,
    RetrieveContainerExecRequest,
    StreamContainerExecRequest,
)
from berth.v1.exec_pb2 import Exec, ExecEvent


class ExecBackend(Protocol):
    """The operations on execs, for one caller at a time.

    For the errors of every operation see Backend; an exec that does not exist is a NotFoundError, too.
    """

    async def create_container_exec(self, caller: Caller, request: CreateContainerExecRequest) -> Exec:
        """Start a command, which goes on if the caller is cancelled; return its exec, which is running.

        ContainerExpiredError if the container is expired; ContainerBusyError while another command runs in it;
        ExecUnsupportedError if commands cannot be run; RateLimitError (`exec_capacity`) if too many run.
        """

    async def stream_container_exec(self, caller: Caller, request: StreamContainerExecRequest) -> Exec:
        """Do the same for a caller who wants the events of the command."""

    async def retrieve_container_exec(
        self, caller: Caller, request: RetrieveContainerExecRequest, *, is_awaited: bool = False
    ) -> Exec:
        """Return an exec with its output so far, or once it is completed if that `is_awaited`."""

    async def list_container_execs(
        self, caller: Caller, request: ListContainerExecsRequest
    ) -> ListContainerExecsResponse:
        """Return a page of the execs of a container, without their output."""

    async def follow_container_exec(
        self, caller: Caller, request: FollowContainerExecRequest
    ) -> AsyncIterator[ExecEvent]:
        """Return an iterator over the events of an exec, the last of which is "ended"."""

    async def cancel_container_exec(self, caller: Caller, request: CancelContainerExecRequest) -> Exec:
        """End a command that is running; return its exec, which may still be running for a moment."""


def without_events(request: StreamContainerExecRequest) -> CreateContainerExecRequest:
    """Return the request for the same command; the fields of both have the same numbers."""
    return CreateContainerExecRequest.FromString(request.SerializeToString())


class ExecBackendWrapper:
    """An ExecBackend that passes each operation on to `backend` unless a subclass overrides it."""

    def __init__(self, backend: ExecBackend) -> None:
        self._execs = backend

    async def create_container_exec(self, caller: Caller, request: CreateContainerExecRequest) -> Exec:
        """Start a command; see ExecBackend."""
        return await self._execs.create_container_exec(caller, request)

    async def stream_container_exec(self, caller: Caller, request: StreamContainerExecRequest) -> Exec:
        """Start a command; see ExecBackend."""
        return await self._execs.stream_container_exec(caller, request)

    async def retrieve_container_exec(
        self, caller: Caller, request: RetrieveContainerExecRequest, *, is_awaited: bool = False
    ) -> Exec:
        """Return an exec; see ExecBackend."""
        return await self._execs.retrieve_container_exec(caller, request, is_awaited=is_awaited)

    async def list_container_execs(
        self, caller: Caller, request: ListContainerExecsRequest
    ) -> ListContainerExecsResponse:
        """Return a page of execs; see ExecBackend."""
        return await self._execs.list_container_execs(caller, request)

    async def follow_container_exec(
        self, caller: Caller, request: FollowContainerExecRequest
    ) -> AsyncIterator[ExecEvent]:
        """Return the events of an exec; see ExecBackend."""
        return await self._execs.follow_container_exec(caller, request)

    async def cancel_container_exec(self, caller: Caller, request: CancelContainerExecRequest) -> Exec:
        """End a command; see ExecBackend."""
        return await self._execs.cancel_container_exec(caller, request)
