"""Decide in one place what a caller may access.

Admission runs after a request is read and before its handler, and gives the handler the only
backend that it can use. So no handler can skip the ownership check, and a method without a scope
(see `core.operations`) is rejected.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from berth.core.caller import Origin
from berth.core.errors import PermissionDeniedError
from berth.core.exec.backend import ExecBackend
from berth.core.operations import Scope
from berth.core.ports.backend import Backend
from berth.core.ports.file_backend import FileBackend
from berth.core.routing.router import Router
from berth.rpc.call import Call
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

Admission = Callable[[Any, Call], Awaitable[None]]
"""Stores the backend that may answer a request in the call, or raises the reason for rejecting it."""

B = TypeVar("B")

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
        named = request.provider
        provider = call.provider_of(request)
        if scope is Scope.USAGE:
            return  # there is no backend to choose: the tenant is the scope
        if scope is Scope.TOOLS:
            if provider:
                containers.backend(call.caller, provider)
            return
        is_default = provider != named
        if scope is Scope.EXEC and execs is not None:
            call.admitted.execs = await _backend_of(execs, request.container_id, request, call, is_default=is_default)
            call.identity = replace(call.caller, origin=Origin(call.source, call.head.request_id))
            call.admitted.container_id = request.container_id
        elif scope in _ON_FILES:
            await _admit_to_files(files, scope, request, call, is_default=is_default)
        else:
            await _admit_to_containers(containers, scope, request, call, is_default=is_default)

    return admit


async def _backend_of(router: Router[B], resource_id: str, request: Any, call: Call, *, is_default: bool) -> B:
    """Return the backend of a resource. Its provider is put into the call and, in place of a default, the request."""
    call.provider, backend = await router.backend_of(
        call.caller, request.provider, resource_id=resource_id, is_default=is_default
    )
    if is_default:
        request.provider = call.provider
    return backend


async def _admit_to_containers(
    router: Router[Backend], scope: Scope, request: Any, call: Call, *, is_default: bool
) -> None:
    admitted = call.admitted
    if scope is Scope.CONTAINER:
        admitted.containers = await _backend_of(router, request.container_id, request, call, is_default=is_default)
        admitted.is_own_account = router.owns(call.caller, call.provider)
        _set_origin(router, call)
        admitted.container_id = request.container_id
    elif scope is Scope.NEW_CONTAINER:
        request.provider = call.provider = router.provider_for_new(request.provider)
        admitted.containers = router.backend(call.caller, call.provider)
    else:
        admitted.containers = router.backend(call.caller, request.provider)


def _set_origin(router: Router[Any], call: Call) -> None:
    """Tell the backend where the call came from, if it may adopt a resource and write that to the audit trail."""
    if router.admits_unknown(call.caller, call.provider):
        call.identity = replace(call.caller, origin=Origin(call.source, call.head.request_id))


async def _admit_to_files(
    router: Router[FileBackend], scope: Scope, request: Any, call: Call, *, is_default: bool
) -> None:
    admitted = call.admitted
    if scope is Scope.FILE:
        admitted.files = await _backend_of(router, request.file_id, request, call, is_default=is_default)
        _set_origin(router, call)
    elif scope is Scope.ALL_FILES:
        admitted.files = router.backend(call.caller, request.provider)
    else:

        def choose_provider(named: Provider) -> None:
            call.provider = router.provider_for_new(named or provider)
            admitted.files = router.backend(call.caller, call.provider)

        provider = request.provider
        admitted.choose_provider = choose_provider
        if is_default:
            request.provider = PROVIDER_UNSPECIFIED  # a form may name another one
        elif provider:
            choose_provider(provider)  # rejects a caller without access to it before the form is read
