"""Decide in one place what a caller may access.

Admission runs after a request is read and before its handler, and gives the handler the only
backend that it can use. So no handler can skip the ownership check, and a method without a scope
(see `core.operations`) is rejected.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from berth.core.caller import Origin
from berth.core.errors import PermissionDeniedError
from berth.core.exec.backend import ExecBackend
from berth.core.operations import Scope
from berth.core.ports.backend import Backend
from berth.core.ports.file_backend import FileBackend
from berth.core.routing.router import Router
from berth.rpc.call import Call
from berth.v1.provider_pb2 import Provider

Admission = Callable[[Any, Call], Awaitable[None]]
"""Stores the backend that may answer a request in the call, or raises the reason for rejecting it."""

_ON_FILES = frozenset({Scope.NEW_FILE, Scope.ALL_FILES, Scope.FILE})


def admission(
    containers: Router[Backend], files: Router[FileBackend], execs: Router[ExecBackend] | None = None
) -> Admission:
    """Return the function that admits requests to the routers' backends. It raises what Router's methods raise.

    It also raises PermissionDeniedError (`operation_blocked`) for a method without a scope.
    """

    async def admit(request: Any, call: Call) -> None:
        scope = call.method.operation.scope
        if scope is None:
            raise PermissionDeniedError("This operation is not available.", code="operation_blocked")
        named = call.provider_of(request)
        if scope is Scope.USAGE:
            return  # there is no backend to choose: the tenant is the scope
        if scope is Scope.TOOLS:
            if named:
                containers.backend(call.caller, named)
            return
        if scope is Scope.EXEC and execs is not None:
            call.provider, call.admitted.execs = await execs.backend_of(
                call.caller, named, resource_id=request.container_id
            )
            call.identity = replace(call.caller, origin=Origin(call.source, call.head.request_id))
            call.admitted.container_id = request.container_id
        elif scope in _ON_FILES:
            await _admit_to_files(files, scope, request, call, named)
        else:
            await _admit_to_containers(containers, scope, request, call, named)

    return admit


async def _admit_to_containers(
    router: Router[Backend], scope: Scope, request: Any, call: Call, named: Provider
) -> None:
    admitted = call.admitted
    if scope is Scope.CONTAINER:
        found = await router.backend_of(call.caller, named, resource_id=request.container_id)
        call.provider, admitted.containers = found
        admitted.is_own_account = router.owns(call.caller, call.provider)
        _set_origin(router, call)
        admitted.container_id = request.container_id
    elif scope is Scope.NEW_CONTAINER:
        request.provider = call.provider = router.provider_for_new(named)
        admitted.containers = router.backend(call.caller, call.provider)
    else:
        admitted.containers = router.backend(call.caller, named)


def _set_origin(router: Router[Any], call: Call) -> None:
    """Tell the backend where the call came from, if it may adopt a resource and write that to the audit trail."""
    if router.admits_unknown(call.caller, call.provider):
        call.identity = replace(call.caller, origin=Origin(call.source, call.head.request_id))


async def _admit_to_files(router: Router[FileBackend], scope: Scope, request: Any, call: Call, named: Provider) -> None:
    admitted = call.admitted
    if scope is Scope.FILE:
        call.provider, admitted.files = await router.backend_of(call.caller, named, resource_id=request.file_id)
        _set_origin(router, call)
    elif scope is Scope.ALL_FILES:
        admitted.files = router.backend(call.caller, named)
    else:

        def choose_provider(named: Provider) -> None:
            call.provider = router.provider_for_new(named)
            admitted.files = router.backend(call.caller, call.provider)

        admitted.choose_provider = choose_provider
        if named:
            choose_provider(named)  # rejects a caller without access to it before the form is read
