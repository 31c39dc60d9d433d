"""The outermost interceptor: reads the metadata of a call, completes its response, logs and counts it."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.observation.trace_context import trace_id_of
from berth.core.ports.metrics import Metrics
from berth.core.providers import PROVIDER_NAMES
from berth.core.usage.calls import CallCounter
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.sampling import LogSampler
from berth.rpc.metadata import read_metadata
from berth.rpc.patience import DEFAULT_PATIENCE, Patience, Waiting
from berth.rpc.peer import NO_TRUST, Trust

_FAILED = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
_UNAVAILABLE = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
_EXHAUSTED = "RESOURCE_EXHAUSTED"


def request_interceptor(
    log: FilteringBoundLogger,
    metrics: Metrics,
    *,
    new_request_id: Callable[[], str],
    usage: CallCounter | None = None,
    trust: Trust = NO_TRUST,
    patience: Patience = DEFAULT_PATIENCE,
    logged_successes: float = 1.0,
) -> Interceptor:
    """Return the interceptor that reads a call's metadata, completes its response, and logs and counts it.

    It returns the response as bytes. `usage` counts the calls of authenticated callers, refused ones too. `trust` says
    which proxies are believed about the source of a call, `patience` how long it waits for its caller, and
    `logged_successes` which part of the successful calls is logged.
    """
    sampler = LogSampler(successes=logged_successes)

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            started = perf_counter()
            metrics.call_began()
            call.trust = trust
            call.waiting = Waiting(patience)
            call.head = head = read_metadata(call.context.invocation_metadata())
            head.request_id = head.request_id or new_request_id()
            call.caller_trace = trace = head.trace_context()
            call.trace_id = trace.trace_id if trace else trace_id_of(head.request_id)
            body: bytes | None = None
            try:
                response = await next_handler(message, call)
                if response is not None:
                    _count_cache(response, metrics)
                    _complete(response, call, milliseconds=int((perf_counter() - started) * 1000))
                    body = response.SerializeToString()
            except asyncio.CancelledError:
                call.outcome.status = call.cancellation_status()
                raise
            else:
                call.outcome.status = "OK"
                return body
            finally:
                seconds = perf_counter() - started
                count_call(metrics, call, seconds=seconds)
                if usage is not None and call.identity is not None:
                    _count_usage(usage, call, body or b"", log)
                _log_line(log, call, sampler, seconds=seconds)

        return handler

    return intercept


def _complete(response: Any, call: Call, *, milliseconds: int) -> None:
    extra = response.extra_fields
    extra.request_type = call.method.request_type
    extra.latency = milliseconds
    call.provider = extra.provider or call.provider
    if extra.HasField("upstream_latency"):
        call.outcome.upstream_milliseconds = extra.upstream_latency
    call.outcome.is_replayed = extra.idempotent_replayed
    call.attach_headers()


def _count_cache(response: Any, metrics: Metrics) -> None:
    extra = response.extra_fields
    if extra.HasField("cache_debug"):
        metrics.cache_asked(PROVIDER_NAMES[extra.cache_debug.requested_provider], hit=extra.cache_debug.cache_hit)


def count_call(metrics: Metrics, call: Call, *, seconds: float) -> None:
    """Count a call that has ended: how long it took, its bytes, and the limit that refused it."""
    outcome, request_type = call.outcome, call.method.request_type
    metrics.call_ended(request_type, provider=call.provider_name, status=outcome.status, seconds=seconds)
    metrics.bytes_moved(request_type, received=call.bytes_in, sent=call.bytes_out)
    if outcome.status == _EXHAUSTED:
        metrics.call_limited(outcome.code or "")


def _count_usage(usage: CallCounter, call: Call, body: bytes, log: FilteringBoundLogger) -> None:
    """Count a call for its caller. It has happened even if that fails, so that is logged, and changes no response."""
    sent = call.bytes_out + len(body)
    try:
        usage.count(call.caller, call.provider_name, bytes_in=call.bytes_in, bytes_out=sent)
    except Exception as error:  # noqa: BLE001 - whatever it is
        log.warning("usage.failed", reason=f"a call could not be counted: {type(error).__name__}")


def _log_line(log: FilteringBoundLogger, call: Call, sampler: LogSampler, *, seconds: float) -> None:
    """Log a call, if `sampler` takes it: not all that succeed, nor all of callers who are not authenticated."""
    caller, status = call.identity, call.outcome.status
    if status == "OK" and not sampler.takes_success():
        return
    added = {} if caller else sampler.next_line()
    if added is None:
        return
    write = log.error if status in _FAILED else log.warning if status in _UNAVAILABLE else log.info
    write(
        "call.finished",
        method=call.method.path,
        status=status,
        milliseconds=round(seconds * 1000, 3),
        request_id=call.head.request_id,
        trace_id=call.trace_id,
        provider=call.provider_name,
        tenant=caller.tenant if caller else None,
        caller=caller.name if caller else None,
        **added,
    )
