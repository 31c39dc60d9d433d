"""PrometheusMetrics: metrics for Prometheus, served over HTTP by a thread of its client library."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_NONE = "none"


class PrometheusMetrics:
    """A Metrics that Prometheus can collect. Each instance has a separate registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
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
        self._keys_put_aside = Counter(
            "berth_upstream_keys_put_aside",
            "How often a configured key was refused by its provider and put aside.",
            ["provider", "key"],
            registry=self._registry,
        )
        self._cache = Counter(
            "berth_cache_answers", "Calls that asked the cache.", ["provider", "result"], registry=self._registry
        )
        # Looking up a series by its labels costs several times as much as counting.
        self._calls = cache(calls.labels)
        self._upstream_requests = cache(upstream_requests.labels)

    def call_began(self) -> None:
        """Count the start of a call; see Metrics."""
        self._in_flight.inc()

    def call_ended(self, request_type: str, *, provider: str | None, status: str, seconds: float) -> None:
        """Count the end of a call; see Metrics."""
        self._in_flight.dec()
        self._calls(request_type, provider or _NONE, status).observe(seconds)

    def cache_asked(self, provider: str, *, hit: bool) -> None:
        """Count a lookup in the cache; see Metrics."""
        self._cache.labels(provider, "hit" if hit else "miss").inc()

    def try_ended(self, provider: str, *, status: int, seconds: float) -> None:
        """Count a request to a provider; see Metrics."""
        self._upstream_requests(provider, status).observe(seconds)

    def key_put_aside(self, provider: str, *, key: str) -> None:
        """Count a key that is put aside; see Metrics."""
        self._keys_put_aside.labels(provider, key).inc()

    def names(self) -> set[str]:
        """Return the names of all metrics."""
        return {metric.name for metric in self._registry.collect()}

    def value(self, series: str, **labels: str) -> float | None:
        """Return the current value of a series, None if the series does not exist."""
        return self._registry.get_sample_value(series, labels)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Serve the metrics over HTTP and yield the port; 0 picks a free one. OSError if the port cannot be opened."""
        server, thread = start_http_server(port, host, registry=self._registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
