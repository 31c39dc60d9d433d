"""PrometheusMetrics: metrics for Prometheus, served over HTTP by a thread of its client library."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, wraps
from http import HTTPStatus
from typing import ParamSpec

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from berth.adapters.prometheus.process import register_process
from berth.adapters.prometheus.server import metrics_server

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SHORT_SECONDS = (0.0001, 0.00025, *_SECONDS[:13])
_SWEEP_SECONDS = (0.01, 0.1, 1, 10, 60, 600)
_NONE = "none"
_LIMITS = frozenset(
    {"rate_limited", "request_limited", "exec_capacity", "budget_exceeded", "pages", "health", "transport"}
)
"""The codes of Berth's own refusals, and the names of limits before a call is one of a caller.

The codes of providers can be anything."""
_PROVIDER = "provider"
_STATUSES = frozenset(HTTPStatus)
DONE = "done"
"""The result of a sweep that removed all that was due."""
P = ParamSpec("P")


def _unfailing(count: Callable[P, None]) -> Callable[P, None]:
    """Make a method ignore all errors: what is counted has happened, and must not become an error by it."""

    @wraps(count)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            count(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is
            structlog.get_logger().error("metrics.failed", metric=count.__name__, error=type(error).__name__)

    return wrapped


class PrometheusMetrics:
    """A Metrics that Prometheus can collect. Each instance has a separate registry."""

    def __init__(self, dropped_lines: Callable[[], int] = lambda: 0, *, version: str = "unknown") -> None:
        """`dropped_lines` returns how many lines of the log were dropped so far."""
        self._registry = CollectorRegistry()
        self._registry.register(_DroppedLines(dropped_lines))
        self._in_flight = Gauge("berth_calls_in_flight", "Calls that are being answered.", registry=self._registry)
        calls = Histogram(
            "berth_call_seconds",
            "How long calls took, from their metadata to their end.",
            ["request_type", "provider", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        upstream_requests = Histogram(
            "berth_upstream_attempt_seconds",
            "How long providers took to answer single requests; the status is that of HTTP, 0 for no answer.",
            ["provider", "status"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._bytes = Counter(
            "berth_call_bytes",
            "Bytes of requests, and of content in responses, of calls that have ended.",
            ["request_type", "direction"],
            registry=self._registry,
        )
        self._limited = Counter(
            "berth_calls_limited",
            "Calls that a limit refused, by the code of the error or by the limit; `provider` for limits of providers.",
            ["limit"],
            registry=self._registry,
        )
        store = Histogram(
            "berth_store_seconds",
            "How long reads and writes of the database took, with the time that they waited for others.",
            ["operation", "result"],
            buckets=_SHORT_SECONDS,
            registry=self._registry,
        )
        content = Histogram(
            "berth_content_seconds",
            "How long the store of content took to put, get and delete, without the time that it waited for callers.",
            ["operation", "result"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._sweeps = Histogram(
            "berth_sweep_seconds",
            "How long sweeps took.",
            ["result"],
            buckets=_SWEEP_SECONDS,
            registry=self._registry,
        )
        self._swept = Counter("berth_swept", "What sweeps have removed.", ["kind"], registry=self._registry)
        self._last_sweep = Gauge(
            "berth_last_sweep_timestamp_seconds", "When the last sweep was done.", registry=self._registry
        )
        self._spans_dropped = Counter(
            "berth_spans_dropped",
            "Spans of traces that were lost because the collector did not take them.",
            registry=self._registry,
        )
        self._execs_running = Gauge(
            "berth_execs_running", "Commands that are running in hosted containers.", registry=self._registry
        )
        self._keys_put_aside = Counter(
            "berth_upstream_keys_put_aside",
            "How often a configured key was refused by its provider and put aside.",
            ["provider", "key"],
            registry=self._registry,
        )
        self._cache = Counter(
            "berth_cache_answers", "Calls that asked the cache.", ["provider", "result"], registry=self._registry
        )
        self._execs = Histogram(
            "berth_exec_seconds",
            "How long commands in hosted containers ran; the outcome is that of the exec.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._egress = Counter(
            "berth_egress_requests",
            "Requests of commands in hosted containers to the network: passed on, refused by the policy, or failed.",
            ["result"],
            registry=self._registry,
        )
        self._egress_bytes = Counter(
            "berth_egress_bytes", "Bytes that commands in hosted containers sent and received.", registry=self._registry
        )
        # Looking up a series by its labels costs several times as much as counting.
        self._calls = cache(calls.labels)
        self._upstream_requests = cache(upstream_requests.labels)
        self._store = cache(store.labels)
        self._content = cache(content.labels)
        self._moved = cache(self._bytes.labels)
        register_process(self._registry, version)

    def count_dropped_lines(self, dropped: Callable[[], int]) -> None:
        """Add the number of lines of the log that were dropped, which `dropped` returns."""
        self._registry.register(_DroppedLines(dropped))

    @_unfailing
    def call_began(self) -> None:
        """Count the start of a call; see Metrics."""
        self._in_flight.inc()

    @_unfailing
    def call_ended(self, request_type: str, *, provider: str | None, status: str, seconds: float) -> None:
        """Count the end of a call; see Metrics."""
        self._in_flight.dec()
        self._calls(request_type, provider or _NONE, status).observe(seconds)

    @_unfailing
    def bytes_moved(self, request_type: str, *, received: int, sent: int) -> None:
        """Count the bytes of a call; see Metrics."""
        if received:
            self._moved(request_type, "received").inc(received)
        if sent:
            self._moved(request_type, "sent").inc(sent)

    @_unfailing
    def call_limited(self, limit: str) -> None:
        """Count a call that was refused because of a limit; see Metrics."""
        self._limited.labels(limit if limit in _LIMITS else _PROVIDER).inc()

    @_unfailing
    def store_ended(self, operation: str, *, failed: bool, seconds: float) -> None:
        """Count a read or write of the database; see Metrics."""
        self._store(operation, _result(failed=failed)).observe(seconds)

    @_unfailing
    def content_ended(self, operation: str, *, failed: bool, seconds: float) -> None:
        """Count an operation on the store of content; see Metrics."""
        self._content(operation, _result(failed=failed)).observe(seconds)

    @_unfailing
    def sweep_ended(self, result: str, removed: Mapping[str, int], *, seconds: float) -> None:
        """Count a sweep; see Metrics."""
        self._sweeps.labels(result).observe(seconds)
        if result == DONE:
            self._last_sweep.set(time.time())
        for kind, number in removed.items():
            self._swept.labels(kind).inc(number)

    @_unfailing
    def spans_dropped(self, number: int) -> None:
        """Count spans that were lost; see Metrics."""
        self._spans_dropped.inc(number)

    @_unfailing
    def cache_asked(self, provider: str, *, hit: bool) -> None:
        """Count a lookup in the cache; see Metrics."""
        self._cache.labels(provider, "hit" if hit else "miss").inc()

    @_unfailing
    def try_ended(self, provider: str, *, status: int, seconds: float) -> None:
        """Count a request to a provider; see Metrics."""
        # A provider may send any number with three digits.
        label = str(status) if status in _STATUSES or not status else f"{status // 100}xx"
        self._upstream_requests(provider, label).observe(seconds)

    @_unfailing
    def key_put_aside(self, provider: str, *, key: str) -> None:
        """Count a key that is put aside; see Metrics."""
        self._keys_put_aside.labels(provider, key).inc()

    def snapshot(self) -> list[Metric]:
        """Return all metrics as they are now."""
        return list(self._registry.collect())

    @_unfailing
    def exec_began(self) -> None:
        """Count the start of a command; see Metrics."""
        self._execs_running.inc()

    @_unfailing
    def exec_ended(self, outcome: str, *, seconds: float) -> None:
        """Count the end of a command; see Metrics."""
        self._execs_running.dec()
        self._execs.labels(outcome).observe(seconds)

    @_unfailing
    def egress_ended(self, results: Mapping[str, int], *, size: int) -> None:
        """Count the requests of a command to the network; see Metrics."""
        for result, number in results.items():
            self._egress.labels(result).inc(number)
        self._egress_bytes.inc(size)

    def names(self) -> set[str]:
        """Return the names of all metrics."""
        return {metric.name for metric in self._registry.collect()}

    def value(self, series: str, **labels: str) -> float | None:
        """Return the current value of a series, None if the series does not exist."""
        return self._registry.get_sample_value(series, labels)

    @contextmanager
    def served(self, host: str, port: int, *, accepts_ipv4: bool = False) -> Iterator[int]:
        """Serve the metrics over HTTP and yield the port; 0 picks a free one. OSError if the port cannot be opened.

        With `accepts_ipv4`, the wildcard address of IPv6 is for IPv4, too.
        """
        with metrics_server(self._registry, host, port, accepts_ipv4=accepts_ipv4) as server:
            yield server.server_port


def _result(*, failed: bool) -> str:
    return "failed" if failed else "ok"


class _DroppedLines(Collector):
    """Reads how many lines of the log were dropped when the metrics are collected."""

    def __init__(self, dropped: Callable[[], int]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric."""
        text = "Lines of the log that were dropped because they could not be written in time."
        yield CounterMetricFamily("berth_log_lines_dropped", text, value=self._dropped())
