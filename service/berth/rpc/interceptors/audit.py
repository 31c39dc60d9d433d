"""Write the audit trail: an event for each resource that is created or deleted and for each refused call.

An event says who did what, from where and with what result. Events carry `audit: true`, which
distinguishes them from the rest of the log, and never contain a secret.

Where the configuration wants so, nothing is created or deleted while events cannot be written.
"""

from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.errors import (
    AuthenticationError,
    BerthError,
    PermissionDeniedError,
    RateLimitError,
    StorageError,
    UpstreamError,
    UpstreamTimeoutError,
)
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.sampling import LogSampler

REFUSALS = (AuthenticationError, PermissionDeniedError, RateLimitError)
"""The errors that are recorded as refusals.

NotFoundError is not one of them: it does not show whether a resource is missing or belongs to
another tenant.
"""

UNCERTAIN = (UpstreamError, UpstreamTimeoutError)
"""The errors of Berth's own that can be raised after something was created or deleted.

Of StorageError, which is one of them, this is only true for deletes: a row is deleted before its content.
"""

RETRY_SECONDS = 5


def audit_interceptor(log: FilteringBoundLogger, is_available: Callable[[], bool] = lambda: True) -> Interceptor:
    """Return the interceptor that writes the audit trail. It runs outside auth, so that it sees failed logins.

    Calls that would be recorded are refused, before anything is done, while the trail is not `is_available`.
    """
    trail, sampler = log.bind(audit=True), LogSampler()
    require_trail = partial(_require, is_available)

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            audit_event = call.method.operation.audit_event
            if audit_event is not None or call.method.operation.reports_itself:
                call.check_before_change = require_trail
                require_trail()
            try:
                response = await next_handler(message, call)
            except REFUSALS as error:
                added = {} if call.identity else sampler.next_line()
                if added is not None:
                    fields = {**_error_fields(error), **_caller_fields(call), **added}
                    trail.warning("call.refused", operation=call.method.request_type, **fields)
                raise
            except (Exception, CancelledError) as error:
                if audit_event is not None and _may_have_changed(error, call):
                    fields = {**_error_fields(error), **_named_ids(message, call), **_caller_fields(call)}
                    trail.warning("call.unfinished", operation=call.method.request_type, **fields)
                raise
            if audit_event is not None:
                audit_event = "call.replayed" if response.extra_fields.idempotent_replayed else audit_event
                trail.info(audit_event, id=response.id, **_container_fields(call, response), **_caller_fields(call))
            return response

        return handler

    return intercept


def _may_have_changed(error: BaseException, call: Call) -> bool:
    """Return whether an admitted call may have created or deleted something although it has no response.

    What has begun is completed even if the caller disconnects, and a provider or the storage can fail after the change.
    """
    is_admitted = call.admitted.containers is not None or call.admitted.files is not None
    if call.is_arriving:
        return False
    if isinstance(error, StorageError):
        return is_admitted and str(call.method.operation.audit_event).endswith(".deleted")
    return is_admitted and (isinstance(error, UNCERTAIN) or not isinstance(error, BerthError))


def _require(is_available: Callable[[], bool]) -> None:
    """Raise StorageError if the trail is not available."""
    if not is_available():
        message = "The audit trail cannot be written at the moment, so the request was not executed."
        raise StorageError(message, code="audit_unavailable", retry_after_seconds=RETRY_SECONDS)


def _container_fields(call: Call, response: Any) -> dict[str, str]:
    """Return the id of the container that an event is about, if there is one."""
    if call.method.request_type.startswith("container"):
        return {"container_id": call.admitted.container_id or response.id}
    return {}


def _named_ids(message: Any, call: Call) -> dict[str, str]:
    """Return the ids of the container and of the file that a request names."""
    ids = {"container_id": call.admitted.container_id, "id": getattr(message, "file_id", "")}
    return {name: value for name, value in ids.items() if value}


def _error_fields(error: BaseException) -> dict[str, str | None]:
    return {"result": type(error).__name__, "code": error.code if isinstance(error, BerthError) else None}


def _caller_fields(call: Call) -> dict[str, str | None]:
    caller = call.identity
    return {
        "tenant": caller.tenant if caller else None,
        "caller": caller.name if caller else None,
        "source": call.source,
        "provider": call.provider_name,
        "request_id": call.head.request_id,
    }
