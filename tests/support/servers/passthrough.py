"""A PassthroughBackend on stores in memory, with what a test wants to look at afterwards."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
from structlog.testing import LogCapture

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.containers import PassthroughBackend
from berth.adapters.upstream.dialects import DIALECTS
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.core.background import BackgroundTasks
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.metrics import Metrics
from berth.v1.provider_pb2 import Provider
from support.fakes.budgets import unlimited
from support.fakes.files import MemoryFiles
from support.fakes.stores import FixedClock, MemoryStore


@dataclass(frozen=True)
class Passthrough:
    """A backend in front of a provider, its store, its clock, its log, and how long it slept without `sleep`."""

    backend: PassthroughBackend
    store: ContainerStore
    clock: FixedClock
    log: LogCapture
    slept: list[float] = field(default_factory=list)


@asynccontextmanager
async def passthrough(
    url: str,
    *keys: UpstreamKey,
    store: ContainerStore | None = None,
    sleep: Callable[[float], Awaitable[None]] | None = None,
    random: Callable[[], float] = lambda: 0.0,
    metrics: Metrics | None = None,
    provider: Provider = Provider.PROVIDER_OPENAI,
    **settings: Any,
) -> AsyncIterator[Passthrough]:
    """Open a backend in front of the provider at `url`; without `sleep` it sleeps in no time."""
    clock, log, slept, kept = FixedClock(), LogCapture(), list[float](), store or MemoryStore()

    async def sleep_in_no_time(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    logger = structlog.wrap_logger(None, processors=[log])
    defaults: dict[str, Any] = {"base_url": url, "dialect": DIALECTS["openai"], "timeout_seconds": 5, "keys": keys}
    account = UpstreamAccount(
        UpstreamSettings(**(defaults | settings)),
        provider=provider,
        now=clock,
        log=logger,
        metrics=metrics or PrometheusMetrics(),
        random=random,
        sleep=sleep or sleep_in_no_time,
    )
    files = MemoryFiles(clock)
    backend = PassthroughBackend(account, store=kept, files=files, background=BackgroundTasks(), budgets=unlimited())
    try:
        yield Passthrough(backend, kept, clock, log, slept)
    finally:
        await account.close()
