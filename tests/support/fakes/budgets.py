"""Budgets of which nothing is ever spent."""

from berth.core.caller import Budget
from berth.core.ports.usage_store import Charge
from berth.core.usage.budgets import Budgets
from berth.core.usage.prices import Prices


class Unspent:
    """A BudgetStore that refuses nothing."""

    async def remaining(self, _tenant: str, _key: str, *, budget: Budget, prices: Prices) -> int:
        """Return the whole budget."""
        return budget.nano_usd if prices.as_of else 0

    async def reserve(self, charge: Charge, *, seconds: int) -> None:
        """Reserve nothing."""

    async def release(self, charge: Charge) -> None:
        """Do nothing."""


def unlimited() -> Budgets:
    """Return budgets under which everything is free."""
    return Budgets(Unspent(), Prices(), lambda prefix, digits: prefix + "0" * digits)
