"""Enforce the limits of tenants and callers before a body is read."""

from typing import Any

from berth.core.auth.rate_limits import Gate, TenantSlots
from berth.core.caller import NO_LIMITS
from berth.rpc.call import Call, Handler, Interceptor


def limits_interceptor(gate: Gate, tenants: TenantSlots) -> Interceptor:
    """Return the interceptor that enforces limits before any part of the body is read."""

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            caller, kind = call.caller, call.method.operation.kind
            with tenants.taken(caller.tenant, kind):
                if caller.limits is NO_LIMITS:
                    return await next_handler(message, call)
                async with gate.passing(caller, kind, tell=call.set_quota):
                    return await next_handler(message, call)

        return handler

    return intercept
