"""The outermost interceptor: reads the metadata of a call, completes its response, logs and counts it."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.ports.metrics import Metrics
from berth.core.providers import PROVIDER_NAMES
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.sampling import LogSampler
from berth.rpc.metadata import read_metadata
from berth.rpc.patience import DEFAULT_PATIENCE, Patience, Waiting
from berth.rpc.peer import NO_TRUST, Trust

DEADLINE_SLACK_SECONDS = 0.05
"""The caller's clock may end a call this much earlier than the deadline known here."""


def request_interceptor(
    log: FilteringBoundLogger,
    metrics: Metrics,
    *,
    new_request_id: Callable[[], str],
    trust: Trust = NO_TRUST,
    patience: Patience = DEFAULT_PATIENCE,
) -> Interceptor:
    """Return the interceptor that reads a call's metadata, completes its response, and logs and counts it.

    `trust` says which proxies are believed about the source of a call, `patience` how long it waits
    for its caller.
    """
    sampler = LogSampler()

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            started = perf_counter()
            metrics.call_began()
            call.trust = trust
            call.waiting = Waiting(patience)
            call.head = head = read_metadata(call.context.invocation_metadata() or ())
            head.request_id = head.request_id or new_request_id()
            try:
                response = await next_handler(message, call)
                if response is not None:
                    _count_cache(response, metrics)
                    _complete(response, call, milliseconds=int((perf_counter() - started) * 1000))
            except asyncio.CancelledError:
                call.outcome.status = _cancellation_status(call)
                raise
            else:
                call.outcome.status = "OK"
                return response
            finally:
                seconds = perf_counter() - started
                metrics.call_ended(
                    call.method.request_type, provider=call.provider_name, status=call.outcome.status, seconds=seconds
                )
                _log_line(log, call, sampler, seconds=seconds)

        return handler

    return intercept


def _cancellation_status(call: Call) -> str:
    """Return the status of a cancelled call: its deadline has passed, or the caller disconnected."""
    seconds = call.context.time_remaining()
    return "CANCELLED" if seconds is None or seconds > DEADLINE_SLACK_SECONDS else "DEADLINE_EXCEEDED"


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


def _log_line(log: FilteringBoundLogger, call: Call, sampler: LogSampler, *, seconds: float) -> None:
    """Log a call; of callers who are not authenticated only as many as `sampler` lets through."""
    caller = call.identity
    added = {} if caller else sampler.next_line()
    if added is None:
        return
    log.info(
        "call.finished",
        method=call.method.path,
        status=call.outcome.status,
        milliseconds=round(seconds * 1000, 3),
        request_id=call.head.request_id,
        provider=call.provider_name,
        tenant=caller.tenant if caller else None,
        caller=caller.name if caller else None,
        **added,
    )
