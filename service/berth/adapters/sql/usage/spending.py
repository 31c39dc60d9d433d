"""Computes what keys have spent and reserved, and charges new containers to budgets.

What was spent in a period is the sum of the minutes that are counted, of those of running containers that are not
counted yet, and of reservations.
"""

from typing import Any

from berth.adapters.sql.database import Transaction
from berth.adapters.sql.expressions import either, larger, smaller
from berth.adapters.sql.usage.meters import END
from berth.core.caller import Budget
from berth.core.ports.usage_store import Charge
from berth.core.usage.budgets import budget_exceeded, start_of_period
from berth.core.usage.minutes import MINIMUM_MINUTES, day_of
from berth.core.usage.prices import DEFAULT_MEMORY, BilledMinutes

_COUNTED = """
    SELECT usage.provider, memory_limit, CAST(sum(billed_minutes) AS BIGINT)
    FROM usage JOIN usage_minutes ON usage_minutes.usage_seq = usage.seq
    WHERE tenant = :tenant AND key_name = :key AND day >= :day GROUP BY 1, 2
"""
# A minute that began before the period is counted for an earlier one.
_BILLED = larger(str(MINIMUM_MINUTES), f"({smaller(END, ':now')} - metered_from + 59) / 60")
_BEFORE = larger(larger("counted_minutes", str(MINIMUM_MINUTES)), "(:start - metered_from + 59) / 60")
_COUNTED_OR_BEFORE = either("counted_minutes = 0 AND metered_from >= :start", "0", _BEFORE)
_RUNNING = f"""
    SELECT provider, coalesce(memory_limit, '{DEFAULT_MEMORY}'),
        CAST(sum({larger("0", f"{_BILLED} - {_COUNTED_OR_BEFORE}")}) AS BIGINT)
    FROM containers WHERE meter_open = 1 AND tenant = :tenant AND created_by = :key GROUP BY 1, 2
"""  # noqa: S608 - constants
_RESERVED = f"""
    SELECT provider, memory_limit, count(*) * {MINIMUM_MINUTES}
    FROM reservations WHERE tenant = :tenant AND key_name = :key AND expires_at > :now GROUP BY 1, 2
"""  # noqa: S608 - constants
SPENT = f"{_COUNTED} UNION ALL {_RUNNING} UNION ALL {_RESERVED}"
"""The query for the billed minutes of a key; its values are those of `spending_values`."""
_RESERVE = """
    INSERT INTO reservations (id, tenant, key_name, provider, memory_limit, expires_at) VALUES (?, ?, ?, ?, ?, ?)
"""
_RELEASE = "DELETE FROM reservations WHERE id = ?"
_REMOVE_EXPIRED = "DELETE FROM reservations WHERE expires_at <= ?"


def spending_values(tenant: str, key: str, budget: Budget, now: int) -> dict[str, Any]:
    """Return the values of the query SPENT."""
    start = start_of_period(budget, now)
    return {"tenant": tenant, "key": key, "start": start, "day": day_of(start), "now": now}


async def charge(transaction: Transaction, new: Charge, *, now: int) -> None:
    """Check that a budget suffices for a container that is added now; what was reserved for it is spent by this."""
    if new.reservation is None:
        await _require(transaction, new, now=now)
    else:
        await release(transaction, new)


async def reserve(transaction: Transaction, new: Charge, *, now: int, expires_at: int) -> None:
    """Reserve a charge, which has an id for it, if the budget suffices."""
    await transaction.run(_REMOVE_EXPIRED, now)
    await _require(transaction, new, now=now)
    provider, memory, _ = new.new
    await transaction.run(_RESERVE, new.reservation, new.tenant, new.key, provider, memory, expires_at)


async def release(transaction: Transaction, held: Charge) -> None:
    """End a reservation."""
    await transaction.run(_RELEASE, held.reservation)


async def _require(transaction: Transaction, new: Charge, *, now: int) -> None:
    await transaction.serialize("budget", new.tenant, new.key)
    values = spending_values(new.tenant, new.key, new.budget, now)
    spent = map(BilledMinutes._make, await transaction.all(SPENT, **values))
    if new.prices.cost(spent) + new.cost > new.budget.nano_usd:
        raise budget_exceeded(new.budget)
