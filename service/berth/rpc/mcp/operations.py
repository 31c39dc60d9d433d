"""Call operations of the contract for a tool: with their own admission, limits, audit events and metrics."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from structlog.typing import FilteringBoundLogger

from berth.core.caller import NO_LIMITS, Caller, Limits
from berth.core.errors import StorageError
from berth.core.observation.spans import NO_TRACER, Span, Tracer
from berth.core.operations import OPERATIONS
from berth.core.ports.metrics import Metrics
from berth.rpc.call import Call, Handler, Interceptor, Method
from berth.rpc.interceptors.admission import Admission
from berth.rpc.interceptors.errors import log_failure
from berth.rpc.interceptors.request import count_call
from berth.rpc.interceptors.sampling import LogSampler
from berth.rpc.interceptors.tracing import FAILURES, STATUS
from berth.rpc.status import code_of, row_of

_OK = "OK"
T = TypeVar("T")


class Operations:
    """Calls operations of the contract inside of a call of MCP.

    `interceptors` are those that run for each operation; the others have run for the call.
    """

    def __init__(self, admit: Admission, interceptors: Sequence[Interceptor]) -> None:
        self._admit = admit
        self._interceptors = tuple(interceptors)

    async def run(
        self,
        name: str,
        request: Any,
        work: Callable[[Any, Call], Awaitable[T]],
        *,
        within: Call,
        is_counted: bool,
    ) -> T:
        """Admit `request` to the operation `name`, and return what `work` makes of it, within the limits of the caller.

        `within` is the call of MCP, which counts as one request of its caller; with `is_counted`, the operation is
        another one. Raises what the operation raises.
        """
        call = _inner(name, within, is_counted=is_counted)

        async def admitted(request: Any, call: Call) -> T:
            await self._admit(request, call)
            return await work(request, call)

        handler: Handler = admitted
        for interceptor in reversed(self._interceptors):
            handler = interceptor(handler)
        try:
            result: T = await handler(request, call)
        finally:
            within.provider = call.provider or within.provider
            if call.budget_remaining is not None:
                within.budget_remaining = call.budget_remaining
        return result


def _inner(name: str, within: Call, *, is_counted: bool) -> Call:
    """Return the call of an operation, of the same caller."""
    call = Call(within.context, Method(within.method.path, OPERATIONS[name]))
    call.head, call.trust, call.waiting = within.head, within.trust, within.waiting
    call.trace_id = within.trace_id
    # A key would be that of all operations of a tool, which are different requests.
    caller = replace(within.caller, options=replace(within.caller.options, idempotency_key=None))
    call.identity = _limited(caller, is_counted=is_counted)
    return call


def _limited(caller: Caller, *, is_counted: bool) -> Caller:
    """Return the caller without the limits in which the call of MCP counts already."""
    limits = caller.limits
    if limits is NO_LIMITS:
        return caller
    per_minute = limits.requests_per_minute if is_counted else None
    return replace(caller, limits=Limits(requests_per_minute=per_minute, operations=limits.operations))


def operation_interceptor(
    log: FilteringBoundLogger, metrics: Metrics, tracer: Tracer = NO_TRACER, logged_successes: float = 1.0
) -> Interceptor:
    """Return the interceptor that logs, counts and traces the operations of tools; so is the call of MCP by itself."""
    sampler = LogSampler(successes=logged_successes)

    def intercept(next_handler: Handler) -> Handler:
        async def handler(request: Any, call: Call) -> Any:
            started, outcome, operation = perf_counter(), call.outcome, call.method.request_type
            metrics.call_began()
            with tracer.part(operation, {}) as span:
                try:
                    response = await next_handler(request, call)
                    outcome.status = _OK
                except Exception as error:
                    outcome.status, outcome.code = row_of(error).status.name, code_of(error)
                    if isinstance(error, StorageError):
                        log_failure(log, call, error)
                    raise
                else:
                    return response
                finally:
                    _trace(span, outcome.status)
                    seconds = perf_counter() - started
                    count_call(metrics, call, seconds=seconds)
                    if outcome.status != _OK or sampler.takes_success():
                        _log_line(log, call, seconds=seconds)

        return handler

    return intercept


def _trace(span: Span, status: str) -> None:
    span.set(STATUS, status)
    if status in FAILURES:
        span.fail(status)


def _log_line(log: FilteringBoundLogger, call: Call, *, seconds: float) -> None:
    log.info(
        "operation.finished",
        operation=call.method.request_type,
        status=call.outcome.status,
        milliseconds=round(seconds * 1000, 3),
        request_id=call.head.request_id,
        trace_id=call.trace_id,
        provider=call.provider_name,
        tenant=call.caller.tenant,
        caller=call.caller.name,
    )
