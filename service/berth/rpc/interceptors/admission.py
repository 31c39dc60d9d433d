"""The one place where it is decided what a caller may reach.

It stands before every handler, between the request and the method, and hands
the handler the only backend it gets to see. So no handler can forget to ask
whose a container is, and a method that says nothing of its reach (see
`operations`) is refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from berth.core.errors import PermissionDeniedError
from berth.core.operations import Reach
from berth.core.ports.backend import Backend
from berth.core.ports.file_backend import FileBackend
from berth.core.routing.router import Router
from berth.rpc.call import Call
from berth.v1.provider_pb2 import Provider

Admission = Callable[[Any, Call], Awaitable[None]]
"""Puts the backend that may answer a request into the call, or raises what speaks against it."""


_ON_FILES = frozenset({Reach.NEW_FILE, Reach.ALL_FILES, Reach.FILE})


def admission(containers: Router[Backend], files: Router[FileBackend]) -> Admission:
    """Return what admits requests to the backends of two routers; it raises what the methods of Router raise.

    PermissionDeniedError (`operation_blocked`) for a method without a reach.
    """

    async def admit(request: Any, call: Call) -> None:
        reach = call.method.operation.reach
        if reach is None:
            raise PermissionDeniedError("This operation is open to nobody.", code="operation_blocked")
        named = call.provider_of(request)
        if reach in _ON_FILES:
            await _admit_to_files(files, reach, request, call)
        elif reach is Reach.CONTAINER:
            call.provider, call.backend = await containers.backend_of(call.caller, named, thing_id=request.container_id)
            call.container_id = request.container_id
        elif reach is Reach.NEW_CONTAINER:
            request.provider = call.provider = containers.provider_for_new(named)
            call.backend = containers.backend(call.caller, call.provider)
        else:
            call.backend = containers.backend(call.caller, named)

    return admit


async def _admit_to_files(files: Router[FileBackend], reach: Reach, request: Any, call: Call) -> None:
    named = call.provider
    if reach is Reach.FILE:
        call.provider, backend = await files.backend_of(call.caller, named, thing_id=request.file_id)
        call.admit_to_files(lambda _: backend)
    elif reach is Reach.ALL_FILES:
        backend = files.backend(call.caller, named)
        call.admit_to_files(lambda _: backend)
    else:

        def for_new(named: Provider) -> FileBackend:
            call.provider = files.provider_for_new(named)
            return files.backend(call.caller, call.provider)

        if named:
            for_new(named)  # whoever may not use it learns so before the form is read
        call.admit_to_files(for_new)
