"""Write the audit trail: an event for each resource that is created or deleted and for each refused call.

An event says who did what, from where and with what result. Events carry `audit: true`, which
distinguishes them from the rest of the log, and never contain a secret.
"""

from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.errors import AuthenticationError, BerthError, PermissionDeniedError, RateLimitError
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.sampling import LogSampler

REFUSALS = (AuthenticationError, PermissionDeniedError, RateLimitError)
"""The errors that are recorded as refusals.

NotFoundError is not one of them: it does not show whether a resource is missing or belongs to
another tenant.
"""


def audit_interceptor(log: FilteringBoundLogger) -> Interceptor:
    """Return the interceptor that writes the audit trail. It runs outside auth, so that it sees failed logins."""
    trail, sampler = log.bind(audit=True), LogSampler()

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            try:
                response = await next_handler(message, call)
            except REFUSALS as error:
                added = {} if call.identity else sampler.next_line()
                if added is not None:
                    fields = {**_error_fields(error), **_caller_fields(call), **added}
                    trail.warning("call.refused", operation=call.method.request_type, **fields)
                raise
            audit_event = call.method.operation.audit_event
            if audit_event is not None:
                audit_event = "call.replayed" if response.extra_fields.idempotent_replayed else audit_event
                trail.info(audit_event, id=response.id, **_container_fields(call, response), **_caller_fields(call))
            return response

        return handler

    return intercept


def _container_fields(call: Call, response: Any) -> dict[str, str]:
    """Return the id of the container that an event is about, if there is one."""
    if call.method.request_type.startswith("container"):
        return {"container_id": call.admitted.container_id or response.id}
    return {}


def _error_fields(error: BerthError) -> dict[str, str | None]:
    return {"result": type(error).__name__, "code": error.code}


def _caller_fields(call: Call) -> dict[str, str | None]:
    caller = call.identity
    return {
        "tenant": caller.tenant if caller else None,
        "caller": caller.name if caller else None,
        "source": call.source,
        "provider": call.provider_name,
        "request_id": call.head.request_id,
    }
