"""Builds what measures and traces the work on calls."""

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.adapters.sql.database import Database
from berth.adapters.sql.observed.database import ObservedDatabase
from berth.app.observation.sending import build_collector, resource_of
from berth.config import Config
from berth.core.observation.blobs import ObservedBlobs
from berth.core.observation.spans import NO_TRACER, Tracer
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.metrics import Metrics


class Observation(NamedTuple):
    """Where is reported what happens: the metrics, and the tracer of the configuration.

    Stores are measured if `is_used`, which is if somebody can look at one of the two.
    """

    metrics: Metrics
    tracer: Tracer
    is_used: bool

    def of_database(self, database: Database, config: Config) -> Database:
        """Return the database, observed."""
        if not self.is_used:
            return database
        system = config.store_url().partition(":")[0]
        return ObservedDatabase(database, self.metrics, self.tracer, system=system)

    def of_blobs(self, blobs: BlobStore, config: Config) -> BlobStore:
        """Return the store of content, observed."""
        if not self.is_used:
            return blobs
        return ObservedBlobs(blobs, self.metrics, self.tracer, store=config.blobs_url().partition(":")[0])


def build_observation(
    config: Config, stack: AsyncExitStack, metrics: Metrics, log: FilteringBoundLogger
) -> Observation:
    """Return what reports; `stack` exports what is left of the traces. StartError if a file cannot be read."""
    tracer = _build_tracer(config, stack, metrics, log)
    return Observation(metrics, tracer, is_used=config.listen.metrics is not None or tracer is not NO_TRACER)


def _build_tracer(config: Config, stack: AsyncExitStack, metrics: Metrics, log: FilteringBoundLogger) -> Tracer:
    telemetry = config.telemetry
    if telemetry.endpoint is None:
        return NO_TRACER
    # The SDK takes 25 MiB of memory and a third of a second.
    from berth.adapters.otel.export import open_processor  # noqa: PLC0415
    from berth.adapters.otel.tracer import OtelTracer  # noqa: PLC0415

    collector = build_collector(config, telemetry.endpoint)
    processor = open_processor(collector, count_dropped=metrics.spans_dropped, log=log)
    stack.push_async_callback(asyncio.to_thread, processor.finish)
    return OtelTracer(processor, sampling_ratio=telemetry.sampling_ratio, resource=resource_of(config))
