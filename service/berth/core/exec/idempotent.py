"""IdempotentExecs: runs a command with an idempotency key once.

The answer that is stored is the exec that has started: a repeated request waits for the same command, or gets its
result.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from berth.core.caller import Caller
from berth.core.exec.backend import ExecBackend, ExecBackendWrapper, without_events
from berth.core.exec.store import ExecStore
from berth.core.idempotency.fingerprints import KnownContent
from berth.core.idempotency.leases import Leases
from berth.core.idempotency.protocol import IdempotencyProtocol, KeyedCreate
from berth.v1.container_exec_service_pb2 import (
    CreateContainerExecRequest,
    RetrieveContainerExecRequest,
    StreamContainerExecRequest,
)
from berth.v1.exec_pb2 import Exec


class IdempotentExecs(ExecBackendWrapper):
    """Wraps `backend`, which keeps its execs in `store`; see IdempotencyProtocol."""

    def __init__(self, backend: ExecBackend, store: ExecStore, leases: Leases) -> None:
        super().__init__(backend)
        self._store = store
        self._protocol = IdempotencyProtocol(leases, resumes=True)

    async def stream_container_exec(self, caller: Caller, request: StreamContainerExecRequest) -> Exec:
        """Start a command; see ExecBackend."""
        return await self.create_container_exec(caller, without_events(request))

    async def create_container_exec(self, caller: Caller, request: CreateContainerExecRequest) -> Exec:
        """Start a command; see ExecBackend. With a key, this is completed even if the caller is cancelled."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._execs.create_container_exec(caller, request)

        async def find(attempt: str) -> Callable[[], Awaitable[Exec]] | None:
            found = await self._store.find(caller.tenant, attempt)
            if found is None:
                return None
            asked = RetrieveContainerExecRequest(container_id=found[0], exec_id=found[1])
            return partial(self._execs.retrieve_container_exec, caller, asked)

        create = KeyedCreate(
            caller,
            key,
            operation="container_exec_create",
            kind=Exec,
            content=KnownContent(_content(request)),
            find=find,
            create=lambda caller, _: self._execs.create_container_exec(caller, request),
        )
        return await self._protocol.run_to_end(create)


def _content(request: CreateContainerExecRequest) -> bytes:
    """Return what distinguishes a request from others; a command may be sent again with another way to wait for it."""
    content = CreateContainerExecRequest()
    content.CopyFrom(request)
    content.background = False
    return content.SerializeToString(deterministic=True)
