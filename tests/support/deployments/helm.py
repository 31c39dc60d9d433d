"""Renders the chart in deploy/helm with the program `helm`: the one on PATH, or that of BERTH_TEST_HELM."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "berth"
RELEASE, NAMESPACE = "berth", "agents"
KUBERNETES = "1.37"
HELM = os.environ.get("BERTH_TEST_HELM") or shutil.which("helm")
needs_helm = pytest.mark.skipif(HELM is None, reason="there is no helm on PATH, and BERTH_TEST_HELM names none")
_WORKLOADS = {"Deployment"}


@dataclass(frozen=True)
class Rendered:
    """The manifests of a release; or why its values were refused."""

    manifests: list[Any]
    error: str | None

    def named(self, kind: str, name: str = RELEASE) -> Any:
        """Return the only manifest of a kind with a name."""
        (found,) = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found

    def of_kind(self, kind: str) -> list[Any]:
        """Return all manifests of a kind."""
        return [each for each in self.manifests if each["kind"] == kind]

    def pods(self) -> Iterator[Any]:
        """Yield the template of each pod."""
        for workload in self.manifests:
            if workload["kind"] in _WORKLOADS:
                yield workload["spec"]["template"]

    def container(self, name: str, workload: str = RELEASE) -> Any:
        """Return a container of a deployment."""
        (found,) = containers(self.named("Deployment", workload)["spec"]["template"], name)
        return found


def containers(pod: Any, name: str | None = None) -> Iterator[Any]:
    """Yield the containers in the template of a pod, those that start before others included."""
    spec = pod["spec"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        if name in {None, container["name"]}:
            yield container


def render(values: dict[str, Any]) -> Rendered:
    """Render the chart with values."""
    arguments = ("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES)
    done = run_helm(*arguments, values=values)
    if done.returncode != 0:
        return Rendered([], done.stderr)
    return Rendered([document for document in yaml.safe_load_all(done.stdout) if document], None)


def run_helm(*arguments: str, values: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    """Run the program, which reads the values from stdin."""
    assert HELM is not None
    with TemporaryDirectory() as home:
        environ = {"PATH": os.environ["PATH"], "HOME": home}
        command = [HELM, *arguments, "--values", "-"]
        return subprocess.run(
            command, input=json.dumps(values), capture_output=True, text=True, check=False, env=environ, timeout=60
        )
