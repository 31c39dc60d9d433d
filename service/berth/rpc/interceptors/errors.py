"""Turn every error into a gRPC status. Unexpected errors become "internal error"."""

from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.errors import BerthError, StorageError
from berth.core.providers import PROVIDERS
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.status import Refusal, code_of, refusal


def errors_interceptor(log: FilteringBoundLogger) -> Interceptor:
    """Return the interceptor that turns every error into a gRPC status.

    Unexpected errors become "internal error". grpc.aio sends the text of an uncaught exception to
    the caller, so only cancellation and the AbortError that ends a call may pass.
    """

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            try:
                return await next_handler(message, call)
            except Exception as error:  # noqa: BLE001 - the catch-all is needed for security
                if isinstance(error, BerthError) and error.provider:
                    call.provider = PROVIDERS[error.provider]
                refused = _refusal(error, call)
                if isinstance(error, StorageError):
                    log_failure(log, call, error)
                call.outcome.code = code_of(error)
            if refused.unforeseen is not None:
                log.error("call.failed", request_id=call.head.request_id, exc_info=refused.unforeseen)
            return await call.refuse(refused)

        return handler

    return intercept


def _refusal(error: Exception, call: Call) -> Refusal:
    """Return the refusal for `error`, or for the exception that building this refusal raised."""
    build = partial(
        refusal,
        request_id=call.head.request_id,
        request_type=call.method.request_type,
        provider=call.provider_name,
    )
    try:
        return build(error)
    except Exception as failure:  # noqa: BLE001 - grpc would send its text
        return build(failure)


def log_failure(log: FilteringBoundLogger, call: Call, error: StorageError) -> None:
    """Log why the storage failed a call. The cause may contain paths, so it is only logged."""
    cause = None if error.__cause__ is None else f"{type(error.__cause__).__name__}: {error.__cause__}"
    log.error("storage.failed", request_id=call.head.request_id, reason=error.message, cause=cause)
