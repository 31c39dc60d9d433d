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
            audit_event = call.method.operation.audit_event
            if audit_event is not None:
                audit_event = "call.replayed" if response.extra_fields.idempotent_replayed else audit_event
                trail.info(audit_event, id=response.id, **_container(call, response), **_who(call))
            return response

        return handler

    return intercept


def _container(call: Call, response: Any) -> dict[str, str]:
    """Return the container that an event is about, if it is about one."""
    if call.method.request_type.startswith("container"):
        return {"container_id": call.admitted.container_id or response.id}
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
        "request_id": call.head.request_id,
    }
