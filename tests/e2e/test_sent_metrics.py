"""Metrics of a whole Berth that are sent to a collector: the same as those that Prometheus collects."""

from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest

from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.collector import Collector, collecting

LISTS = {"request_type": "container_list", "provider": "none", "status": "OK"}
SENT = {"request_type": "container_create", "direction": "received"}


def page(berth: Berth, name: str, **labels: str) -> Mapping[str, float]:
    """Return the values of the series that begin with `name` and have the labels, in their order, by series."""
    assert berth.metrics is not None
    lines = [
        line.rsplit(" ", 1)
        for line in httpx2.get(berth.metrics, timeout=30).text.splitlines()
        if not line.startswith("#")
    ]
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return {
        series: float(value)
        for series, value in lines
        if series.startswith(name) and all(label in series for label in wanted)
    }


def settings(collector: Collector, protocol: str, seconds: float) -> dict[str, object]:
    """Return settings with which metrics are sent, and no traces."""
    url = collector.grpc if protocol == "grpc" else collector.http
    telemetry = {"endpoint": url, "protocol": protocol, "sampling_ratio": 0, "metrics_seconds": seconds}
    return {
        **SETTINGS,
        "listen": {"metrics": "127.0.0.1:0"},
        "telemetry": {**telemetry, "service_name": "box", "headers": {"Authorization": "Bearer secret"}},
    }


def call(berth: Berth) -> None:
    """Make some calls: three of them list containers."""
    with httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client:
        assert client.post("/v1/containers", json={"name": "hidden"}).status_code == 200
        for _ in range(3):
            assert client.get("/v1/containers").status_code == 200


def count(collector: Collector) -> int:
    """Return how many lists the collector knows of."""
    measured = collector.metrics.get("berth_call_seconds")
    point = measured and measured.point(**LISTS)
    return point.count if point else 0


@pytest.mark.parametrize(
    ("protocol", "seconds", "options"), [("http", 0.1, []), ("grpc", 600, ["--workers", "2"])], ids=["http", "grpc"]
)
def test_what_is_sent_is_what_prometheus_collects(
    tmp_path: Path, protocol: str, seconds: float, options: list[str]
) -> None:
    """A counter and a histogram are the same in both, all names are sent, and a stop sends what is left."""
    with collecting() as collector:
        with running(tmp_path, settings(collector, protocol, seconds), options=options) as berth:
            call(berth)
            collector.wait(lambda: 3 in page(berth, "berth_call_seconds_count", **LISTS).values(), "calls")
            lists = page(berth, "berth_call_seconds", **LISTS)
            (received,) = page(berth, "berth_call_bytes_total", **SENT).values()
            names = {series.partition("{")[0] for series in page(berth, "berth_")}
            if seconds < 1:
                collector.wait(lambda: count(collector) == 3, "metrics")
            assert berth.stop() == 0
            assert not berth.lines(0, event="metrics.unavailable")
        *buckets, number, total = (lists[series] for series in lists if "_created" not in series)
        measured = collector.metrics["berth_call_seconds"]
        point = measured.point(**LISTS)
        assert (point.count, point.sum) == (number, total) == (3, total)
        assert [sum(point.bucket_counts[: end + 1]) for end in range(len(buckets))] == buckets
        assert (measured.service, measured.metric.unit) == ("box", "s")
        bytes_received = collector.metrics["berth_call_bytes"]
        assert bytes_received.point(**SENT).as_double == received
        assert bytes_received.instance == measured.instance
        ends = ("_total", "_bucket", "_count", "_sum", "_created")
        assert {name for name in names if not name.endswith(ends)} <= {*collector.metrics}
        assert {name.removesuffix("_total") for name in names if name.endswith("_total")} <= {*collector.metrics}
        assert collector.headers[0]["authorization"] == "Bearer secret"
        assert collector.spans == []
