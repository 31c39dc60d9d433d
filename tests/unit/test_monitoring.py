"""The alert rules and the dashboard: their expressions can be parsed, and speak of what Berth really measures."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from berth.adapters.prometheus.gateway import NAME, GatewayRefusals
from berth.adapters.prometheus.metrics import PrometheusMetrics

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "monitoring"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
GENERATE = runpy.run_path(str(FOLDER / "generate.py"))
OF_PROMETHEUS = {"instance", "job"}
"""The labels that Prometheus adds to every series."""


def series() -> dict[str, set[str]]:
    """Return the labels of each series of a Berth in which everything has happened."""
    metrics = PrometheusMetrics()
    metrics.call_began()
    metrics.call_ended("container_list", provider="ollama", status="OK", seconds=1)
    metrics.bytes_moved("container_list", received=1, sent=1)
    metrics.call_limited("rate_limited")
    metrics.store_ended("read", failed=False, seconds=1)
    metrics.content_ended("get", failed=False, seconds=1)
    metrics.sweep_ended("done", {"files": 1}, seconds=1)
    metrics.cache_asked("openai", hit=True)
    metrics.try_ended("openai", status=200, seconds=1)
    metrics.key_put_aside("openai", key="main")
    metrics.exec_began()
    metrics.exec_ended("exit", seconds=1)
    metrics.egress_ended({"passed": 1}, size=1)
    gateway = GatewayRefusals(lambda: {"requests": 1}).collect()
    samples = [sample for metric in (*metrics.snapshot(), *gateway) for sample in metric.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the name and the expression of each alert, and of each graph with its variables filled in."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in GENERATE["dashboard"]()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def parts(node: Any) -> Iterator[Any]:
    """Yield a node of an expression, and all below it."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from parts(inner)
    for inner in getattr(node, "args", ()):
        yield from parts(inner)


EXPRESSIONS = [*expressions()]


@pytest.mark.parametrize("expression", [text for _, text in EXPRESSIONS], ids=[name for name, _ in EXPRESSIONS])
def test_an_expression_is_about_what_is_measured(expression: str) -> None:
    """Each can be parsed; each metric exists, and has the labels that are chosen, or by which is added up."""
    known, used, asked = series(), set[str](), set[str]()
    for node in parts(promql_parser.parse(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name in known
            used |= known[node.name]
            assert {one.name for one in node.matchers.matchers} <= known[node.name] | OF_PROMETHEUS
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            asked |= set(node.modifier.labels)
    assert asked <= used | OF_PROMETHEUS


def test_each_metric_is_on_the_dashboard() -> None:
    """No metric of Berth's own is forgotten, but those that are about one process and are in alerts."""
    shown = " ".join(expression for _, expression in EXPRESSIONS)
    own = {NAME, *(name for name in PrometheusMetrics().names() if name.startswith("berth_"))}
    assert {name for name in own if not re.search(rf"\b{name}", shown)} == {"berth_egress_bytes"}


def test_the_dashboard_is_fresh() -> None:
    """The file is what its generator writes."""
    assert (FOLDER / "dashboard.json").read_text() == GENERATE["text"](), "run `python deploy/monitoring/generate.py`"


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """Each has a severity and a summary, and a row in the page for those who run it; labels in texts are there."""
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert f"| `{rule['alert']}` |" in OPERATIONS
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) - OF_PROMETHEUS
    assert named <= set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"]))))
