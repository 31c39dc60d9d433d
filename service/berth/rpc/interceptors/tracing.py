"""Describe each call as a span of its trace, and continue the trace of its caller."""

import asyncio
from typing import Any

from berth.core.observation.spans import CallSpan, Tracer
from berth.rpc.call import Call, Handler, Interceptor

STATUS = "rpc.response.status_code"
_OK = "OK"
FAILURES = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The statuses with which a server has failed, by OpenTelemetry's conventions; with others its caller was refused."""


def tracing_interceptor(tracer: Tracer) -> Interceptor:
    """Return the interceptor that gives each call a span. It runs inside of the one that reads the metadata."""

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            name = call.method.path[1:]
            attributes = {"rpc.system.name": "grpc", "rpc.method": name}
            with tracer.call(name, call.caller_trace, attributes) as span:
                call.trace_id = span.trace_id
                try:
                    response = await next_handler(message, call)
                except asyncio.CancelledError:
                    _end(span, call, call.cancellation_status())
                    raise
                except Exception:
                    _end(span, call, call.outcome.status)
                    raise
                _end(span, call, _OK)
                return response

        return handler

    return intercept


def _end(span: CallSpan, call: Call, status: str) -> None:
    """Say how the call ended."""
    span.set(STATUS, status)
    if call.provider_name:
        span.set("berth.provider", call.provider_name)
    if status in FAILURES:
        span.fail(status)
