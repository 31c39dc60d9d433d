"""The one place where it is decided what a caller may reach.

It stands before every handler, between the request and the method, and hands
the handler the only backend it gets to see. So no handler can forget to ask
whose a container is, and a method that says nothing of its reach (see
`operations`) is refused.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from berth.core.errors import PermissionDeniedError
from berth.core.router import Router
from berth.rpc.call import Call
from berth.rpc.operations import Reach

Admission = Callable[[Any, Call], Awaitable[None]]
"""Puts the backend that may answer a request into the call, or raises what speaks against it."""


def admission(router: Router) -> Admission:
    """Return what admits requests to the backends of `router`; it raises what the methods of Router raise.

    PermissionDeniedError (`operation_blocked`) for a method without a reach.
    """

    async def admit(request: Any, call: Call) -> None:
        reach = call.method.operation.reach
        if reach is None:
            raise PermissionDeniedError("This operation is open to nobody.", code="operation_blocked")
        named = call.provider_of(request)
        if reach is Reach.CONTAINER:
            call.provider, call.backend = await router.backend_of(call.caller, named, container_id=request.container_id)
            call.container_id = request.container_id
        elif reach is Reach.NEW_CONTAINER:
            request.provider = call.provider = router.provider_for_new(named)
            call.backend = router.backend(call.caller, call.provider)
        else:
            call.backend = router.backend(call.caller, named)

    return admit
