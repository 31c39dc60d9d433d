"""Metrics of the process itself: processor time, memory, open files, garbage collection, and which program it runs."""

from prometheus_client import CollectorRegistry, Gauge, GCCollector, PlatformCollector, ProcessCollector


def register_process(registry: CollectorRegistry, version: str) -> None:
    """Add the metrics of this process, as Prometheus names them for all programs, and the version of Berth."""
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    build = Gauge("berth_build_info", "The version of Berth; the value is always 1.", ["version"], registry=registry)
    build.labels(version).set(1)
