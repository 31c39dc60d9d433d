"""Enforce the limits of callers before a body is read."""

from typing import Any

from berth.core.auth.rate_limits import Gate
from berth.core.caller import NO_LIMITS
from berth.rpc.call import Call, Handler, Interceptor


def limits_interceptor(gate: Gate) -> Interceptor:
    """Return the interceptor that enforces the limits of callers, before any part of the body is read."""

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            if call.caller.limits is NO_LIMITS:
                return await next_handler(message, call)
            async with gate.passing(call.caller, call.method.operation.kind, tell=call.set_quota):
                return await next_handler(message, call)

        return handler

    return intercept
