"""The audit trail: one event for each thing that is made, deleted or refused: who, what, where from, with what result.

The events carry `audit: true`, which tells them from the rest of the log, and never a secret.
"""

from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.errors import AuthenticationError, BerthError, PermissionDeniedError, RateLimitError
from berth.rpc.call import Call, Handler, Interceptor

REFUSALS = (AuthenticationError, PermissionDeniedError, RateLimitError)
"""What turns a caller away. What is not there is not among them: nobody can tell it from what is somebody else's."""


def audit_interceptor(log: FilteringBoundLogger) -> Interceptor:
    """Return the interceptor that keeps the trail. It stands outside auth, so that it sees who is turned away."""
    trail = log.bind(audit=True)

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            try:
                response = await next_handler(message, call)
            except REFUSALS as error:
                trail.warning("call.refused", operation=call.method.request_type, **_result(error), **_who(call))
                raise
            deed = call.method.operation.deed
            if deed is not None:
                deed = "call.replayed" if response.extra_fields.idempotent_replayed else deed
                trail.info(deed, id=response.id, **_home(call, response), **_who(call))
            return response

        return handler

    return intercept


def _home(call: Call, response: Any) -> dict[str, str]:
    """Return the container that a deed is about, if it is about one."""
    if call.method.request_type.startswith("container"):
        return {"container_id": call.container_id or response.id}
    return {}


def _result(error: BerthError) -> dict[str, str | None]:
    return {"result": type(error).__name__, "code": error.code}


def _who(call: Call) -> dict[str, str | None]:
    caller = call.identity
    return {
        "tenant": caller.tenant if caller else None,
        "caller": caller.name if caller else None,
        "source": call.source,
        "provider": call.provider_name,
        "request_id": call.request_id,
    }
