"""Report what is left of the budget of the caller's key in every response."""

from contextlib import suppress
from typing import Any

from berth.core.errors import StorageError
from berth.core.usage.budgets import Budgets
from berth.rpc.call import Call, Handler, Interceptor


def budgets_interceptor(budgets: Budgets) -> Interceptor:
    """Return the interceptor that reads budgets: before a call, and again after one that may have spent something."""

    async def read(call: Call) -> None:
        with suppress(StorageError):  # the call itself reports it, if it needs the store
            call.budget_remaining = await budgets.remaining(call.caller)

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            if call.caller.budget is None:
                return await next_handler(message, call)
            await read(call)
            try:
                return await next_handler(message, call)
            finally:
                if call.method.operation.kind == "write":
                    await read(call)

        return handler

    return intercept
