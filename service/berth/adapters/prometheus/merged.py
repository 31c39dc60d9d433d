"""The metrics of several processes as those of one: counts are added, also those of processes that have ended."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from berth.adapters.prometheus.server import metrics_server

_CREATED = ("_created", "_start_time_seconds")
_LATEST = ("_info", "_timestamp_seconds")
_Key = tuple[str, frozenset[tuple[str, str]]]


class MergedMetrics(Collector):
    """Metrics that `read` returns, for Prometheus; `read` is called in a thread."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        return self._read()

    def snapshot(self) -> list[Metric]:
        """Return all metrics as they are now."""
        return list(self._read())

    @contextmanager
    def served(self, host: str, port: int, *, accepts_ipv4: bool = False) -> Iterator[int]:
        """Serve the metrics over HTTP; see PrometheusMetrics."""
        registry = CollectorRegistry()
        registry.register(self)
        with metrics_server(registry, host, port, accepts_ipv4=accepts_ipv4) as server:
            yield server.server_port


def merged(processes: Iterable[Iterable[Metric]]) -> list[Metric]:
    """Return the sum of the metrics of all processes.

    Of times of creation it is the earliest one, of other times and of facts about the program the latest one.
    """
    metrics: dict[str, Metric] = {}
    values: dict[str, dict[_Key, Sample]] = {}
    for metric in (metric for process in processes for metric in process):
        metrics.setdefault(metric.name, metric)
        _add(values.setdefault(metric.name, {}), metric.samples)
    return [_with_samples(metric, values[name]) for name, metric in metrics.items()]


def counts(metrics: Iterable[Metric]) -> list[Metric]:
    """Return what still counts when the process has ended: all but gauges, which say what is now."""
    return [metric for metric in metrics if metric.type != "gauge"]


def _add(values: dict[_Key, Sample], samples: Iterable[Sample]) -> None:
    for sample in samples:
        key = (sample.name, frozenset(sample.labels.items()))
        known = values.get(key)
        if known is None:
            values[key] = sample
        else:
            add = min if sample.name.endswith(_CREATED) else max if sample.name.endswith(_LATEST) else _sum
            values[key] = known._replace(value=add(known.value, sample.value))


def _sum(one: float, other: float) -> float:
    return one + other


def _with_samples(metric: Metric, samples: Mapping[_Key, Sample]) -> Metric:
    result = Metric(metric.name, metric.documentation, metric.type, metric.unit)
    result.samples = list(samples.values())
    return result
