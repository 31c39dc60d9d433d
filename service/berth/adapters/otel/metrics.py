"""Turns the metrics that Prometheus could collect into those of OpenTelemetry, with the same names and values."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Collected

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_UNITS = {"seconds": "s", "bytes": "By"}
_START = "process_start_time_seconds"
_NANOSECONDS = 1_000_000_000


class _Times(NamedTuple):
    """Since when it is counted, and until when, in nanoseconds."""

    start_time_unix_nano: int
    time_unix_nano: int


def metrics_data(metrics: Iterable[Collected], resource: Resource, *, started: int, now: int) -> MetricsData:
    """Return what an exporter takes: counters, gauges and histograms that have a value.

    Counts are since the start of the process, or since `started` where that is not among the metrics.
    """
    collected = list(metrics)
    times = _Times(_start(collected) or started, now)
    converted = [metric for metric in (_converted(one, times) for one in collected) if metric.data.data_points]
    scope = ScopeMetrics(InstrumentationScope("berth"), converted, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _start(metrics: Iterable[Collected]) -> int:
    samples = (sample for metric in metrics if metric.name == _START for sample in metric.samples)
    return max((int(sample.value * _NANOSECONDS) for sample in samples), default=0)


def _converted(metric: Collected, times: _Times) -> Metric:
    unit = _UNITS.get(metric.name.rpartition("_")[2], "")
    data = _DATA.get(metric.type, _gauge)(metric, times)
    return Metric(metric.name, metric.documentation, unit, data)


def _sum(metric: Collected, times: _Times) -> Sum:
    return Sum(list(_numbers(metric, f"{metric.name}_total", times)), _CUMULATIVE, is_monotonic=True)


def _gauge(metric: Collected, times: _Times) -> Gauge:
    return Gauge(list(_numbers(metric, metric.name, times)))


def _numbers(metric: Collected, name: str, times: _Times) -> Iterator[NumberDataPoint]:
    for sample in metric.samples:
        if sample.name == name:
            yield NumberDataPoint(dict(sample.labels), *times, value=sample.value)


def _histogram(metric: Collected, times: _Times) -> Histogram:
    buckets: dict[frozenset[tuple[str, str]], dict[float, int]] = {}
    sums: dict[frozenset[tuple[str, str]], float] = {}
    for sample in metric.samples:
        labels = frozenset((name, value) for name, value in sample.labels.items() if name != "le")
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, {})[float(sample.labels["le"])] = int(sample.value)
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = [_distribution(dict(labels), counts, sums[labels], times) for labels, counts in buckets.items()]
    return Histogram(points, _CUMULATIVE)


def _distribution(
    labels: Mapping[str, str], counts: Mapping[float, int], total: float, times: _Times
) -> HistogramDataPoint:
    """Return a point of `counts` by bound, each of which contains the ones before it. The last bound is infinity."""
    bounds = sorted(counts)
    below = [0, *(counts[bound] for bound in bounds)]
    unknown: Any = None  # Prometheus has no least and no greatest value; what is None is not sent
    return HistogramDataPoint(
        labels,
        *times,
        count=below[-1],
        sum=total,
        bucket_counts=[upper - lower for lower, upper in pairwise(below)],
        explicit_bounds=bounds[:-1],
        min=unknown,
        max=unknown,
    )


_Convert = Callable[[Collected, _Times], Sum | Gauge | Histogram]
_DATA: Mapping[str, _Convert] = {"counter": _sum, "histogram": _histogram}
