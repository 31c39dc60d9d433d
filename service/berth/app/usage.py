"""Builds what counts usage, reports it, and charges budgets."""

import time
from contextlib import AsyncExitStack
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.adapters.sql.database import Database
from berth.adapters.sql.usage.store import SqlUsage
from berth.app.sources import clock_of, new_id
from berth.config import Config
from berth.core.usage.budgets import Budgets
from berth.core.usage.calls import CallCounter
from berth.core.usage.prices import PUBLIC, Prices, price_of_minute
from berth.core.usage.reports import UsageReports


class Accounting(NamedTuple):
    """What counts calls, answers questions about usage, and charges budgets."""

    calls: CallCounter
    reports: UsageReports
    budgets: Budgets


def build_accounting(
    config: Config, stack: AsyncExitStack, *, database: Database, log: FilteringBoundLogger
) -> Accounting:
    """Return what counts and reports usage in `database`; `stack` stores what is counted last."""
    store, prices = SqlUsage(database), prices_of(config)
    calls = CallCounter(store, now=clock_of(database), report=lambda reason: log.warning("usage.failed", reason=reason))
    stack.push_async_callback(calls.close)
    return Accounting(calls, UsageReports(store, prices, time.monotonic), Budgets(store, prices, new_id))


def prices_of(config: Config) -> Prices:
    """Return the configured prices; a passthrough provider without any has the public ones."""
    usd = dict.fromkeys(config.passed_through(), PUBLIC) | config.usage.prices
    per_minute = {name: {size: price_of_minute(price) for size, price in sizes.items()} for name, sizes in usd.items()}
    return Prices(per_minute, config.usage.prices_as_of)
