"""The collector of the configuration, and what sends it the metrics."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from berth.app.listeners import ServedMetrics
from berth.app.sources import new_id, version
from berth.config import Config
from berth.launch.refusal import StartError
from berth.rpc.tls.credentials import channel_credentials

if TYPE_CHECKING:
    from berth.adapters.otel.collector import Collector


def build_sending(
    config: Config, stack: AsyncExitStack, metrics: ServedMetrics, log: FilteringBoundLogger
) -> Callable[[], None]:
    """Return what starts to send metrics to the collector, if that is configured; `stack` sends the last values.

    StartError if a file cannot be read.
    """
    telemetry = config.telemetry
    if telemetry.endpoint is None or not telemetry.metrics_seconds:
        return lambda: None
    from berth.adapters.otel.sender import MetricsSender  # noqa: PLC0415 - see build_collector

    sender = MetricsSender(
        build_collector(config, telemetry.endpoint),
        metrics.snapshot,
        seconds=telemetry.metrics_seconds,
        resource=resource_of(config),
        log=log,
    )
    stack.push_async_callback(asyncio.to_thread, sender.finish)
    return sender.start


def build_collector(config: Config, url: str) -> "Collector":
    """Return the collector at `url`. StartError if a file cannot be read."""
    # The SDK takes 25 MiB of memory and a third of a second.
    from berth.adapters.otel.collector import Collector  # noqa: PLC0415

    telemetry = config.telemetry
    headers = {name: value.get_secret_value() for name, value in telemetry.headers.items()}
    authorities = _authorities(telemetry.ca_file)
    return Collector(
        url,
        telemetry.protocol,
        headers,
        ca_file=telemetry.ca_file,
        credentials=channel_credentials(authorities) if telemetry.protocol == "grpc" else None,
    )


def resource_of(config: Config) -> dict[str, str]:
    """Return what the collector is to know of this process."""
    return {
        "service.name": config.telemetry.service_name,
        "service.version": version(),
        "service.instance.id": _instance_id(),
    }


@cache
def _instance_id() -> str:
    """Return the id of this process, by which its traces and its metrics belong together."""
    return new_id("", 32)


def _authorities(path: Path | None) -> bytes | None:
    """Return the authorities (PEM) that a collector is verified with, None for those of the system."""
    try:
        return path.read_bytes() if path else None
    except OSError as error:
        raise StartError(f"telemetry.ca_file: {path}: {error.strerror}") from error
