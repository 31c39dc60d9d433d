"""Budgets of keys: how much the containers of a key may cost in a period.

What is charged is the minimum of a new container. A container that goes on running goes on costing: that can exceed a
budget, but then no further container is created.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from berth.core.caller import Budget, Caller
from berth.core.errors import BerthError, BudgetExceededError
from berth.core.ports.usage_store import BudgetStore, Charge
from berth.core.providers import provider_name
from berth.core.usage.minutes import DAY_SECONDS, MINIMUM_MINUTES
from berth.core.usage.prices import NANO, BilledMinutes, Prices
from berth.v1.provider_pb2 import Provider

RESERVATION = ("hold_", 32)
"""What the id of a reservation begins with, and how many random hexadecimal digits follow."""
RESERVATION_SECONDS = 3_600
"""How long the cost of a container is reserved if it is not known what the provider did, or if the process ends."""


def start_of_period(budget: Budget, now: int) -> int:
    """Return when the current period of a budget began, in seconds since 1970."""
    if budget.period == "day":
        return now - now % DAY_SECONDS
    return int(datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())


def budget_exceeded(budget: Budget) -> BudgetExceededError:
    """Return the error of a create for which a budget does not suffice."""
    message = (
        f"The budget of this key, ${budget.nano_usd / NANO:.2f} per {budget.period}, does not suffice for another "
        "container."
    )
    return BudgetExceededError(message)


class Budgets:
    """Charges new containers to the budgets of their callers' keys, at `prices`.

    `new_id` returns an unguessable id made of a prefix and a number of hexadecimal digits.
    """

    def __init__(self, store: BudgetStore, prices: Prices, new_id: Callable[[str, int], str]) -> None:
        self._store = store
        self._prices = prices
        self._new_id = new_id

    def charge(self, caller: Caller, provider: Provider, memory_limit: str) -> Charge | None:
        """Return what a new container costs at least; None if the caller has no budget, or if it costs nothing."""
        if caller.budget is None:
            return None
        new = BilledMinutes(provider_name(provider), memory_limit, MINIMUM_MINUTES)
        charge = Charge(caller.tenant, caller.name, caller.budget, self._prices, new)
        return charge if charge.cost else None

    @asynccontextmanager
    async def reserved(self, charge: Charge | None) -> AsyncIterator[Charge | None]:
        """Reserve a charge until the context ends, by when the container was added unless there is an error.

        After an error that leaves open whether the container exists, the charge stays reserved for
        RESERVATION_SECONDS. BudgetExceededError if the budget does not suffice.
        """
        if charge is None:
            yield None
            return
        held = replace(charge, reservation=self._new_id(*RESERVATION))
        await self._store.reserve(held, seconds=RESERVATION_SECONDS)
        try:
            yield held
        except Exception as error:
            if not (isinstance(error, BerthError) and error.is_final):
                await self._store.release(held)
            raise

    async def remaining(self, caller: Caller) -> int | None:
        """Return what is left of the caller's budget, in nano-dollars; None if there is no budget."""
        if caller.budget is None:
            return None
        return await self._store.remaining(caller.tenant, caller.name, budget=caller.budget, prices=self._prices)
