"""Writes the Grafana dashboard, dashboard.json, from a list of panels.

`tests/unit/test_monitoring.py` fails if it is stale, or if an expression has a metric or a label that does not exist.
"""

import json
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).resolve().with_name("dashboard.json")
WIDTH, HEIGHT, COLUMNS = 8, 8, 24
_FILTER = 'instance=~"$instance"'


class Panel(NamedTuple):
    """A graph: its title, its unit, and its expressions by their legends; `@` in them is the choice of the instance."""

    title: str
    unit: str
    expressions: dict[str, str]


def _rates(metric: str, by: str, where: str = "", prefix: str = "") -> dict[str, str]:
    """Return how often something happens in a second, by labels."""
    return {_legend(by, prefix): f"sum by ({by}) (rate({metric}{{@{where}}}[$__rate_interval]))"}


def _increases(metric: str, by: str) -> dict[str, str]:
    """Return how often something happened in the last hour, by labels."""
    return {_legend(by): f"sum by ({by}) (increase({metric}{{@}}[1h]))"}


def _quantiles(metric: str, by: str) -> dict[str, str]:
    """Return the 50th and the 99th percentile of a histogram, by a label."""
    rate = f"rate({metric}_bucket{{@}}[$__rate_interval])"
    return {
        _legend(by, f"p{share} "): f"histogram_quantile(0.{share}, sum by (le, {by}) ({rate}))" for share in (50, 99)
    }


def _legend(by: str, prefix: str = "") -> str:
    return prefix + " ".join(f"{{{{{label}}}}}" for label in by.split(", "))


_EACH = "{{instance}}"
_FAILED = ',result="failed"'
ROWS: dict[str, list[Panel]] = {
    "Calls": [
        Panel("Calls by status", "reqps", _rates("berth_call_seconds_count", "status")),
        Panel("Calls by operation", "reqps", _rates("berth_call_seconds_count", "request_type")),
        Panel("Duration by operation", "s", _quantiles("berth_call_seconds", "request_type")),
        Panel("Running calls", "short", {_EACH: "berth_calls_in_flight{@}"}),
        Panel("Bytes", "Bps", _rates("berth_call_bytes_total", "direction")),
        Panel("Refused by limits", "reqps", _rates("berth_calls_limited_total", "limit")),
        Panel("Refused by Envoy", "reqps", _rates("berth_gateway_refusals_total", "reason")),
    ],
    "Stores": [
        Panel("Database", "s", _quantiles("berth_store_seconds", "operation")),
        Panel("Content", "s", _quantiles("berth_content_seconds", "operation")),
        Panel(
            "Failures",
            "reqps",
            _rates("berth_store_seconds_count", "operation", _FAILED, "database ")
            | _rates("berth_content_seconds_count", "operation", _FAILED, "content "),
        ),
        Panel("Removed by sweeps", "short", _increases("berth_swept_total", "kind")),
        Panel("Sweeps", "short", _increases("berth_sweep_seconds_count", "result")),
        Panel("Since the last sweep", "s", {"": "time() - max(berth_last_sweep_timestamp_seconds{@})"}),
    ],
    "Providers": [
        Panel("Requests by status", "reqps", _rates("berth_upstream_attempt_seconds_count", "provider, status")),
        Panel("Duration", "s", _quantiles("berth_upstream_attempt_seconds", "provider")),
        Panel("Cache", "reqps", _rates("berth_cache_answers_total", "provider, result")),
    ],
    "Commands": [
        Panel("Running", "short", {_EACH: "berth_execs_running{@}"}),
        Panel("Outcomes", "reqps", _rates("berth_exec_seconds_count", "outcome")),
        Panel("Network", "reqps", _rates("berth_egress_requests_total", "result")),
    ],
    "Process": [
        Panel("Processor", "percentunit", {_EACH: "rate(process_cpu_seconds_total{@}[$__rate_interval])"}),
        Panel("Memory", "bytes", {_EACH: "process_resident_memory_bytes{@}"}),
        Panel(
            "Lost lines of the log, and spans",
            "short",
            {
                "lines": "sum(increase(berth_log_lines_dropped_total{@}[$__rate_interval]))",
                "spans": "sum(increase(berth_spans_dropped_total{@}[$__rate_interval]))",
            },
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard, in the model of Grafana."""
    panels: list[dict[str, Any]] = []
    numbers, top = count(1), 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        panels.append({"id": next(numbers), "type": "row", "title": title, "gridPos": place, "panels": []})
        top += 1
        for index, panel in enumerate(row):
            place = {
                "h": HEIGHT,
                "w": WIDTH,
                "x": index * WIDTH % COLUMNS,
                "y": top + index * WIDTH // COLUMNS * HEIGHT,
            }
            panels.append(_graph(panel, next(numbers), place))
        top += -(-len(row) * WIDTH // COLUMNS) * HEIGHT
    return {
        "title": "Berth",
        "uid": "berth",
        "tags": ["berth"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source(), _instances()]},
        "panels": panels,
    }


def _graph(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "expr": expression.replace("@", _FILTER), "legendFormat": legend}
        for index, (legend, expression) in enumerate(panel.expressions.items())
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _instances() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Instance",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": "label_values(berth_build_info, instance)",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
        "refresh": 2,
    }


def text() -> str:
    """Return the content of the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
