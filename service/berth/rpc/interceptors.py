"""What happens around every call: request, errors, auth, limits, outermost first.

Each is applied to a method once, when the server is built: nothing is looked up
or wrapped while calls run. Health and reflection stand outside.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.core.attempts import FailedAttempts
from berth.core.caller import NO_LIMITS
from berth.core.credentials import Credentials
from berth.core.errors import AuthenticationError, BerthError, StorageError
from berth.core.limits import Gate
from berth.core.metrics import Metrics
from berth.core.providers import PROVIDER_NAMES, PROVIDERS
from berth.rpc.call import Behavior, Call, Interceptor
from berth.rpc.metadata import read_metadata
from berth.rpc.options import read_options
from berth.rpc.peer import NO_TRUST, Trust
from berth.rpc.status import Refusal, refusal

DEADLINE_SLACK_SECONDS = 0.05
"""A caller whose time is up says so, which may arrive a little before the time is up here."""


def request(
    log: FilteringBoundLogger, metrics: Metrics, *, new_request_id: Callable[[], str], trust: Trust = NO_TRUST
) -> Interceptor:
    """Return the interceptor that reads a call's metadata, completes its answer, and logs and counts it.

    `trust` is who is believed about where a call comes from.
    """

    def intercept(proceed: Behavior) -> Behavior:
        async def behave(message: Any, call: Call) -> Any:
            started = perf_counter()
            metrics.call_began()
            call.trust = trust
            read_metadata(call, new_request_id)
            try:
                response = await proceed(message, call)
                if response is not None:
                    _count_cache(response, metrics)
                    _complete(response, call, milliseconds=int((perf_counter() - started) * 1000))
            except asyncio.CancelledError:
                call.status = _reason_to_cancel(call)
                raise
            else:
                call.status = "OK"
                return response
            finally:
                seconds = perf_counter() - started
                metrics.call_ended(
                    call.method.request_type, provider=call.provider_name, status=call.status, seconds=seconds
                )
                _log_line(log, call, seconds=seconds)

        return behave

    return intercept


def errors(log: FilteringBoundLogger) -> Interceptor:
    """Return the interceptor that turns every error into a status, and what is unforeseen into "internal error".

    grpc.aio sends the text of an uncaught exception to the caller, so nothing
    may get past here but cancellation, and the AbortError that ends a call.
    """

    def intercept(proceed: Behavior) -> Behavior:
        async def behave(message: Any, call: Call) -> Any:
            try:
                return await proceed(message, call)
            except Exception as error:  # noqa: BLE001 - the catch-all is a matter of security
                if isinstance(error, BerthError) and error.provider:
                    call.provider = PROVIDERS[error.provider]
                refused = _refusal(error, call)
                if isinstance(error, StorageError):
                    _log_failure(log, call, error)
            if refused.unforeseen is not None:
                log.error("call.failed", request_id=call.request_id, exc_info=refused.unforeseen)
            return await call.refuse(refused)

        return behave

    return intercept


def _refusal(error: Exception, call: Call) -> Refusal:
    """Return what the caller is told; of an error whose own words cannot be sent, that there was one."""
    told = partial(
        refusal,
        request_id=call.request_id,
        request_type=call.method.request_type,
        provider=call.provider_name,
    )
    try:
        return told(error)
    except Exception as failure:  # noqa: BLE001 - grpc would send its text
        return told(failure)


def auth(credentials: Credentials, attempts: FailedAttempts) -> Interceptor:
    """Return the interceptor that finds out who is calling, before anything of the body is read.

    Who presents what is wrong waits for the refusal, the longer the more often.
    """

    def intercept(proceed: Behavior) -> Behavior:
        async def behave(message: Any, call: Call) -> Any:
            try:
                call.identity = await credentials.authenticate(call.credentials, certificate=call.certificate_names)
            except AuthenticationError:
                if call.credentials:
                    await attempts.refused(call.source)
                raise
            if call.options:
                call.identity = replace(call.identity, options=read_options(call.options))
            return await proceed(message, call)

        return behave

    return intercept


def limits(gate: Gate) -> Interceptor:
    """Return the interceptor that holds callers within their limits, before anything of the body is read."""

    def intercept(proceed: Behavior) -> Behavior:
        async def behave(message: Any, call: Call) -> Any:
            if call.caller.limits is NO_LIMITS:
                return await proceed(message, call)
            async with gate.passing(call.caller, call.method.operation.kind, tell=call.take_quota):
                return await proceed(message, call)

        return behave

    return intercept


def _log_failure(log: FilteringBoundLogger, call: Call, error: StorageError) -> None:
    """Log why the storage failed a call. What that comes from may name paths: it is for the log alone."""
    cause = None if error.__cause__ is None else f"{type(error.__cause__).__name__}: {error.__cause__}"
    log.error("storage.failed", request_id=call.request_id, reason=error.message, cause=cause)


def _reason_to_cancel(call: Call) -> str:
    """Return the status of a call that nobody waits for any more: its time was up, or the caller left."""
    seconds = call.context.time_remaining()
    return "CANCELLED" if seconds is None or seconds > DEADLINE_SLACK_SECONDS else "DEADLINE_EXCEEDED"


def _complete(response: Any, call: Call, *, milliseconds: int) -> None:
    extra = response.extra_fields
    extra.request_type = call.method.request_type
    extra.latency = milliseconds
    call.provider = extra.provider or call.provider
    if extra.HasField("upstream_latency"):
        call.upstream_milliseconds = extra.upstream_latency
    call.is_replayed = extra.idempotent_replayed
    call.attach_headers()


def _count_cache(response: Any, metrics: Metrics) -> None:
    extra = response.extra_fields
    if extra.HasField("cache_debug"):
        metrics.cache_asked(PROVIDER_NAMES[extra.cache_debug.requested_provider], hit=extra.cache_debug.cache_hit)


def _log_line(log: FilteringBoundLogger, call: Call, *, seconds: float) -> None:
    caller = call.identity
    log.info(
        "call.finished",
        method=call.method.path,
        status=call.status,
        milliseconds=round(seconds * 1000, 3),
        request_id=call.request_id,
        provider=call.provider_name,
        tenant=caller.tenant if caller else None,
        caller=caller.name if caller else None,
    )
