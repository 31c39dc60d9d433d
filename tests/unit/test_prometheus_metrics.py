"""What Prometheus is told: which series there are, and what they count."""

from contextlib import closing
from http.client import HTTPConnection
from socket import create_connection

import httpx2
import pytest

from berth.adapters.prometheus.metrics import PrometheusMetrics

BOUND = '{provider="ollama",request_type="container_list",status="OK"}'
NOBODY = 'provider="none",request_type="container_create",status="UNAUTHENTICATED"'


def scraped(metrics: PrometheusMetrics) -> dict[str, float]:
    """Return all that is served, by series."""
    with metrics.served("127.0.0.1", 0) as port:
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, value in lines}


def test_calls_are_counted_by_type_provider_and_status() -> None:
    """A call is counted once, with how long it took; one without a provider is nobody's."""
    metrics = PrometheusMetrics()
    for _ in range(3):
        metrics.call_began()
    metrics.call_ended("container_list", provider="ollama", status="OK", seconds=0.003)
    metrics.call_ended("container_create", provider=None, status="UNAUTHENTICATED", seconds=2)
    numbers = scraped(metrics)
    assert numbers[f"berth_call_seconds_count{BOUND}"] == 1
    assert numbers[f"berth_call_seconds_sum{BOUND}"] == 0.003
    assert numbers[f'berth_call_seconds_bucket{{le="1.0",{NOBODY}}}'] == 0
    assert numbers[f'berth_call_seconds_bucket{{le="2.5",{NOBODY}}}'] == 1
    assert numbers["berth_calls_in_flight"] == 1


def test_what_happens_upstream_is_counted() -> None:
    """Attempts are counted by status, keys that are put aside by name, the cache by what it had."""
    metrics = PrometheusMetrics()
    metrics.try_ended("azure", status=0, seconds=5)
    metrics.key_put_aside("azure", key="main")
    metrics.cache_asked("azure", hit=True)
    metrics.cache_asked("azure", hit=False)
    numbers = scraped(metrics)
    assert numbers['berth_upstream_attempt_seconds_sum{provider="azure",status="0"}'] == 5
    assert numbers['berth_upstream_keys_put_aside_total{key="main",provider="azure"}'] == 1
    results = [numbers[f'berth_cache_answers_total{{provider="azure",result="{r}"}}'] for r in ("hit", "miss")]
    assert results == [1, 1]


def test_it_listens_while_it_is_served() -> None:
    """The port is free again afterwards, and one that is taken is an error."""
    metrics = PrometheusMetrics()
    with metrics.served("127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="in use"), metrics.served("127.0.0.1", port):
            pass
        with closing(HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", "/metrics")
            assert connection.getresponse().status == 405
    with pytest.raises(ConnectionRefusedError):
        create_connection(("127.0.0.1", port), timeout=5)
