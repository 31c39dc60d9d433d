"""Adds what the own Envoy refuses to the metrics of the service."""

from pathlib import Path

from berth.adapters.prometheus.gateway import GatewayRefusals
from berth.adapters.prometheus.merged import MergedMetrics
from berth.app.listeners import ServedMetrics
from berth.launch.envoy.admin import EnvoyAdmin
from berth.launch.envoy.process import ADMIN_SOCKET


def with_gateway(metrics: ServedMetrics, folder: Path | None) -> ServedMetrics:
    """Return the metrics with those of the Envoy that runs in `folder`; as they are if there is none."""
    if folder is None:
        return metrics
    refusals = GatewayRefusals(EnvoyAdmin(folder / ADMIN_SOCKET).refusals)
    return MergedMetrics(lambda: [*metrics.snapshot(), *refusals.collect()])
