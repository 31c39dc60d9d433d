"""Keeps the storage small in the background: sweeps, and tidies the database."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from time import perf_counter

from structlog.typing import FilteringBoundLogger

from berth.adapters.sql.database import Database
from berth.core.background import cancelled
from berth.core.errors import StorageError
from berth.core.hosted.sweeper import Sweeper, SweepResult
from berth.core.ports.metrics import Metrics

SWEEP_SECONDS = 600
"""Time between two sweeps."""
TIDY_SECONDS = 30
"""Time between two checkpoints, after which a deleted secret is nowhere in the database's files."""


def start_upkeep(
    sweeper: Sweeper, database: Database, stack: AsyncExitStack, log: FilteringBoundLogger, metrics: Metrics
) -> None:
    """Sweep and tidy now, and then periodically until `stack` closes; a failure is logged."""

    async def sweep() -> None:
        swept = await measured_sweep(sweeper, metrics)
        if swept is None:
            log.warning("sweep.skipped", reason="the clock was set less than an hour ago")
        elif any(swept):
            log.info("sweep.done", **swept._asdict())

    _repeat(sweep, SWEEP_SECONDS, stack, report=lambda reason: log.warning("sweep.failed", reason=reason))
    _repeat(database.tidy, TIDY_SECONDS, stack, report=lambda reason: log.warning("tidy.failed", reason=reason))


async def measured_sweep(sweeper: Sweeper, metrics: Metrics) -> SweepResult | None:
    """Sweep, and count the result and what was removed."""
    started, result, removed = perf_counter(), "failed", SweepResult()
    try:
        swept = await sweeper.sweep()
        result, removed = ("skipped", removed) if swept is None else ("done", swept)
        return swept
    finally:
        metrics.sweep_ended(result, removed._asdict(), seconds=perf_counter() - started)


def _repeat(
    work: Callable[[], Awaitable[None]], seconds: float, stack: AsyncExitStack, *, report: Callable[[str], None]
) -> None:
    """Do `work` now and then every `seconds` until `stack` closes; `report` is given the reason of a failure."""

    async def repeat() -> None:
        while True:
            try:
                await work()
            except StorageError as error:
                report(error.message)
            await asyncio.sleep(seconds)

    stack.push_async_callback(cancelled, asyncio.create_task(repeat()))
