"""The Envoys of the chart: their own container writes a configuration that Envoy accepts and that serves their mode."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from berth.launch.envoy.binary import envoy_program
from support.deployments.helm import CHART, Rendered, needs_helm, render

pytestmark = needs_helm

SIDECAR: dict[str, Any] = {"envoy": {"mode": "sidecar", "trustedHops": 2}}
EDGE = yaml.safe_load((CHART.parent / "examples" / "edge.yaml").read_text())
DEPLOYMENTS = {"sidecar": "berth", "edge": "berth-edge"}


@pytest.fixture(scope="module")
def releases() -> dict[str, Rendered]:
    """Render a sidecar without and an edge with TLS."""
    return {name: render(values) for name, values in zip(DEPLOYMENTS, (SIDECAR, EDGE), strict=True)}


def written(release: Rendered, deployment: str, folder: Path) -> Any:
    """Run what the first container of the pod runs, with its folders below `folder`; return Envoy's configuration."""
    (folder / "etc/envoy").mkdir(parents=True)
    (folder / "etc/berth").mkdir()
    for name, text in release.named("ConfigMap")["data"].items():
        (folder / "etc/berth" / name).write_text(text.replace("/etc/", f"{folder}/etc/"))
    first = release.named("Deployment", deployment)["spec"]["template"]["spec"]["initContainers"][0]
    assert (first["name"], "env" in first) == ("envoy-config", False)
    command = [*first["command"], *(each.replace("/etc/", f"{folder}/etc/") for each in first["args"])]
    # Nothing but the search path: the container has no secrets, and Berth asks for none.
    environ = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return yaml.safe_load((folder / "etc/envoy/envoy.yaml").read_text())


def assert_accepted(release: Rendered, deployment: str, folder: Path) -> None:
    """Let Envoy judge its configuration, with the options of its container."""
    container = release.container("envoy", deployment)
    assert container["command"] == ["envoy"]
    options = [each.replace("/etc/", f"{folder}/etc/") for each in container["args"]]
    command = [envoy_program(), *options, "--mode", "validate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "[warning]" not in done.stderr


def endpoints(document: Any) -> list[Any]:
    """Return the addresses at which Envoy looks for the service."""
    clusters = document["static_resources"]["clusters"]
    found = [each["load_assignment"]["endpoints"][0]["lb_endpoints"][0] for each in clusters]
    return [each["endpoint"]["address"]["socket_address"] for each in found]


def test_a_sidecar_serves_its_pod(releases: dict[str, Rendered], tmp_path: Path) -> None:
    """It listens on the port of the service for REST, and finds Berth on 127.0.0.1; it ends after Berth."""
    release = releases["sidecar"]
    document = written(release, "berth", tmp_path)
    assert_accepted(release, "berth", tmp_path)
    assert endpoints(document) == [{"address": "127.0.0.1", "port_value": 50051}] * 2
    listener = document["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 8080}  # noqa: S104 - read
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["xff_num_trusted_hops"] == 2
    assert release.container("envoy")["restartPolicy"] == "Always"
    port = document["admin"]["address"]["socket_address"]["port_value"]
    assert f"127.0.0.1:{port}" in release.container("berth")["lifecycle"]["preStop"]["exec"]["command"]


def test_an_edge_spreads_calls_over_pods(releases: dict[str, Rendered], tmp_path: Path) -> None:
    """It ends TLS with the mounted certificate, knows the origins of browsers, and finds all pods by a name."""
    release = releases["edge"]
    document = written(release, "berth-edge", tmp_path)
    certificate = trustme.CA().issue_cert("localhost")
    (tmp_path / "etc/berth-tls").mkdir()
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "etc/berth-tls/tls.crt")
    certificate.private_key_pem.write_to_path(tmp_path / "etc/berth-tls/tls.key")
    assert_accepted(release, "berth-edge", tmp_path)
    service = release.named("Service", "berth-replicas")
    assert service["spec"]["clusterIP"] == "None"
    assert endpoints(document) == [{"address": "berth-replicas", "port_value": 50051}] * 2
    listener = document["static_resources"]["listeners"][0]
    assert "transport_socket" in listener["filter_chains"][0]
    assert "https://app.example.com" in str(listener)
