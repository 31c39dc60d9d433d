"""What Prometheus is told: which series there are, and what they count."""

from contextlib import closing
from http.client import HTTPConnection
from socket import create_connection

import httpx2
import pytest
from structlog.testing import capture_logs

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.core.ports.metrics import Metrics

BOUND = '{provider="ollama",request_type="container_list",status="OK"}'
NOBODY = 'provider="none",request_type="container_create",status="UNAUTHENTICATED"'


class Unprintable:
    """A label that cannot be turned into text."""

    def __str__(self) -> str:
        raise ValueError


def scraped(metrics: PrometheusMetrics) -> dict[str, float]:
    """Return all that is served, by series."""
    with metrics.served("127.0.0.1", 0) as port:
        text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
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


WRONG: list[tuple[str, dict[str, object]]] = [
    ("call_ended", {"request_type": "container_list", "provider": None, "status": "OK", "seconds": "long"}),
    ("call_ended", {"request_type": "container_list", "provider": None, "status": [], "seconds": 1}),
    ("cache_asked", {"provider": Unprintable(), "hit": True}),
    ("try_ended", {"provider": "openai", "status": [], "seconds": 1}),
    ("key_put_aside", {"provider": "openai", "key": Unprintable()}),
    ("exec_ended", {"outcome": "exit", "seconds": "long"}),
    ("egress_ended", {"results": {"passed": -1}, "size": 1}),
    ("bytes_moved", {"request_type": "container_list", "received": -1, "sent": 1}),
    ("call_limited", {"limit": []}),
    ("store_ended", {"operation": "read", "failed": False, "seconds": "long"}),
    ("content_ended", {"operation": "get", "failed": False, "seconds": "long"}),
    ("sweep_ended", {"result": "done", "removed": {"files": -1}, "seconds": 1}),
    ("spans_dropped", {"number": -1}),
]


@pytest.mark.parametrize(("method", "arguments"), WRONG)
def test_what_cannot_be_counted_is_no_error(method: str, arguments: dict[str, object]) -> None:
    """A metric that fails raises nothing into the call that it counts; the log names it."""
    with capture_logs() as logged:
        getattr(PrometheusMetrics(), method)(**arguments)
    (line,) = logged
    assert (line["event"], line["metric"], line["log_level"]) == ("metrics.failed", method, "error")


def test_no_method_of_the_port_raises() -> None:
    """The test above has all methods of the port that have an argument, which could be wrong."""
    tried = {method for method, _ in WRONG}
    assert {name for name in vars(Metrics) if not name.startswith("_")} == tried | {"call_began", "exec_began"}


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


def test_no_label_can_fail_a_call() -> None:
    """A label that cannot be a label is logged, and counting goes on."""
    metrics = PrometheusMetrics()
    metrics.call_ended("container_create", provider=["openai"], status="OK", seconds=1)  # type: ignore[arg-type]
    metrics.call_ended("container_create", provider="openai", status="OK", seconds=1)
    labels = {"request_type": "container_create", "provider": "openai", "status": "OK"}
    assert metrics.value("berth_call_seconds_count", **labels) == 1


def test_dropped_lines_of_the_log_are_counted() -> None:
    """The metric has the number that the writer of the log returns."""
    assert PrometheusMetrics(lambda: 7).value("berth_log_lines_dropped_total") == 7


def test_what_callers_and_providers_send_makes_no_series() -> None:
    """Codes and statuses of any text or number end in few series: those of Berth, or one for all others."""
    metrics = PrometheusMetrics()
    for number in range(1000):
        metrics.call_limited(f"code-of-a-provider-{number}")
        metrics.try_ended("openai", status=number, seconds=0.1)
    series = scraped(metrics)
    assert [one for one in series if one.startswith("berth_calls_limited_total")] == [
        'berth_calls_limited_total{limit="provider"}'
    ]
    assert len([one for one in series if one.startswith("berth_upstream_attempt_seconds_count")]) < 80


def test_the_process_is_measured() -> None:
    """The version, processor time, memory and open files are there, under the names that Prometheus has for them."""
    metrics = PrometheusMetrics(version="1.2.3")
    assert metrics.value("berth_build_info", version="1.2.3") == 1
    assert {"process_cpu_seconds", "process_resident_memory_bytes", "python_info"} <= metrics.names()


def test_stores_sweeps_and_bytes_are_counted() -> None:
    """Each has the operation or kind, and whether it failed; a sweep that was done says when."""
    metrics = PrometheusMetrics()
    metrics.store_ended("read", failed=False, seconds=0.001)
    metrics.content_ended("put", failed=True, seconds=1)
    metrics.sweep_ended("failed", {}, seconds=1)
    assert metrics.value("berth_last_sweep_timestamp_seconds") == 0
    metrics.sweep_ended("done", {"files": 3}, seconds=1)
    metrics.bytes_moved("container_file_create", received=10, sent=0)
    metrics.exec_began()
    numbers = scraped(metrics)
    assert numbers['berth_store_seconds_count{operation="read",result="ok"}'] == 1
    assert numbers['berth_content_seconds_count{operation="put",result="failed"}'] == 1
    assert numbers['berth_swept_total{kind="files"}'] == 3
    assert numbers["berth_last_sweep_timestamp_seconds"] > 0
    assert numbers['berth_call_bytes_total{direction="received",request_type="container_file_create"}'] == 10
    assert 'berth_call_bytes_total{direction="sent",request_type="container_file_create"}' not in numbers
    assert numbers["berth_execs_running"] == 1
