"""Metrics for a collector without a Berth: how they are converted, and a collector that is away or refuses."""

import time
from collections.abc import Mapping
from contextlib import closing
from socket import create_server

import pytest
import structlog
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram
from structlog.testing import LogCapture

from berth.adapters.otel.collector import Collector, Signal, signal_url
from berth.adapters.otel.metrics import metrics_data
from berth.adapters.otel.sender import MetricsSender
from berth.adapters.prometheus.merged import merged
from berth.adapters.prometheus.metrics import PrometheusMetrics
from support.servers.collector import collecting

CUMULATIVE = AggregationTemporality.CUMULATIVE


def registry() -> CollectorRegistry:
    """Return metrics of each kind, one of them without a value."""
    registry = CollectorRegistry()
    PrometheusCounter("moved_bytes", "Moved.", ["way"], registry=registry).labels("in").inc(7)
    PrometheusCounter("unused", "Never counted.", ["way"], registry=registry)
    PrometheusGauge("running", "Running.", registry=registry).set(2.5)
    took = PrometheusHistogram("took_seconds", "Took.", ["way"], buckets=(1, 10), registry=registry)
    for seconds in (0.5, 1, 5, 50):
        took.labels("out").observe(seconds)
    return registry


def converted(*processes: CollectorRegistry) -> Mapping[str, Metric]:
    """Return the converted metrics of all processes together, by name."""
    metrics = merged(process.collect() for process in processes)
    (resource,) = metrics_data(metrics, Resource({}), started=1, now=9).resource_metrics
    return {metric.name: metric for metric in resource.scope_metrics[0].metrics}


def test_each_kind_is_converted() -> None:
    """Counters become sums, buckets are no longer added up, and what has no value is left out."""
    point = HistogramDataPoint({"way": "out"}, 1, 9, 4, 56.5, [2, 1, 1], [1.0, 10.0], None, None)  # type: ignore[arg-type]
    assert converted(registry()) == {
        "moved_bytes": Metric(
            "moved_bytes", "Moved.", "By", Sum([NumberDataPoint({"way": "in"}, 1, 9, 7.0)], CUMULATIVE, True)
        ),
        "running": Metric("running", "Running.", "", Gauge([NumberDataPoint({}, 1, 9, 2.5)])),
        "took_seconds": Metric("took_seconds", "Took.", "s", Histogram([point], CUMULATIVE)),
    }


def test_those_of_several_processes_are_converted_together() -> None:
    """Merged metrics are converted like those of one process."""
    (point,) = converted(registry(), registry())["took_seconds"].data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert (point.count, point.sum, point.bucket_counts) == (8, 113.0, [4, 2, 2])


def test_counts_are_since_the_start_of_the_process() -> None:
    """The start is that which Prometheus shows, where the system knows it."""
    metrics = PrometheusMetrics()
    metrics.spans_dropped(1)
    start = metrics.value("process_start_time_seconds")
    (resource,) = metrics_data(metrics.snapshot(), Resource({}), started=1, now=9).resource_metrics
    (dropped,) = [one for one in resource.scope_metrics[0].metrics if one.name == "berth_spans_dropped"]
    assert dropped.data.data_points[0].start_time_unix_nano == (int(start * 1_000_000_000) if start else 1)


@pytest.mark.parametrize(
    ("url", "signal", "expected"),
    [
        ("http://a:4318", "metrics", "http://a:4318/v1/metrics"),
        ("http://a/otlp/", "traces", "http://a/otlp/v1/traces"),
        ("http://a/v1/traces", "traces", "http://a/v1/traces"),
        ("http://a/v1/traces", "metrics", "http://a/v1/metrics"),
    ],
)
def test_each_signal_has_a_path(url: str, signal: Signal, expected: str) -> None:
    """An endpoint with the path of traces is that of the collector, also for metrics."""
    assert signal_url(url, signal) == expected


def sender(url: str, log: LogCapture) -> MetricsSender:
    """Return what sends metrics again and again."""
    return MetricsSender(
        Collector(url, "grpc"),
        PrometheusMetrics().snapshot,
        seconds=0.01,
        resource={"service.name": "test", "service.instance.id": "1"},
        log=structlog.wrap_logger(None, processors=[log]),
    )


def test_a_collector_that_refuses_is_logged_once() -> None:
    """The log has one line with the reason when the collector fails, and one when it takes metrics again."""
    log = LogCapture()
    with collecting() as collector:
        collector.refuses = True
        sending = sender(collector.grpc, log)
        sending.start()
        collector.wait(lambda: collector.asked >= 3, "requests")
        collector.refuses = False
        collector.wait(lambda: len(log.entries) == 2, "lines")
        sending.finish()
    assert [line["event"] for line in log.entries] == ["metrics.unavailable", "metrics.available"]
    assert "no room" in log.entries[0]["reason"]


def test_a_silent_collector_delays_the_end_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end waits for FINISH_SECONDS and no longer, while sending something would take ten seconds."""
    monkeypatch.setattr("berth.adapters.otel.sender.FINISH_SECONDS", 0.2)
    with closing(create_server(("127.0.0.1", 0))) as silent:
        sending = sender(f"http://127.0.0.1:{silent.getsockname()[1]}", LogCapture())
        sending.start()
        began = time.monotonic()
        sending.finish()
        assert 0.2 <= time.monotonic() - began < 8


def test_one_that_never_started_sends_nothing() -> None:
    """A Berth that could not start does not wait for the collector."""
    log = LogCapture()
    with closing(create_server(("127.0.0.1", 0))) as unused:
        unused.setblocking(False)
        sender(f"http://127.0.0.1:{unused.getsockname()[1]}", log).finish()
        with pytest.raises(BlockingIOError):
            unused.accept()
    assert log.entries == []
