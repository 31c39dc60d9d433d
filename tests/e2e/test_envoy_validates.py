"""Envoy's own opinion of the configurations that are shipped."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
import yaml

from berth.launch.envoy.binary import envoy_program
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings, Tracing
from support.deployments.mesh import sidecar

FOLDER = Path(__file__).parents[2] / "envoy"
DEPLOY = Path(__file__).parents[2] / "deploy"


async def run_envoy(folder: Path, document: Any, *options: str) -> tuple[int, str]:
    """Run Envoy on `document` until it ends by itself; return its exit code and what it said."""
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(document))
    process = await asyncio.create_subprocess_exec(
        envoy_program(),
        *("--config-path", str(path), "--disable-hot-restart", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode()


async def assert_valid(folder: Path, document: Any) -> None:
    status, said = await run_envoy(folder, document, "--mode", "validate")
    assert status == 0, said
    assert "[warning]" not in said


async def test_local_configuration_is_valid(tmp_path: Path) -> None:
    """Envoy accepts envoy/local.yaml without a warning."""
    await assert_valid(tmp_path, yaml.safe_load((FOLDER / "local.yaml").read_text()))


async def test_configuration_for_workers_is_valid(tmp_path: Path) -> None:
    """Envoy accepts several sockets of the service without a warning."""
    await assert_valid(tmp_path, bootstrap(EdgeSettings(grpc_sockets=("grpc", "grpc-1"), admin_socket="admin")))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("url", ["https://collector.example:4317", "https://[::1]", "http://127.0.0.1:4317/otlp"])
async def test_configuration_with_traces_is_valid(tmp_path: Path, protocol: Literal["grpc", "http"], url: str) -> None:
    """Envoy accepts a collector over TLS and without, and headers from its environment, without a warning."""
    headers = {"authorization": "Bearer %ENVIRONMENT(TOKEN)%", "x-odd": "100%%"}
    authorities = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authorities))
    tracing = Tracing(url, protocol, headers, ca_path=str(authorities))
    await assert_valid(tmp_path, bootstrap(EdgeSettings(tracing=tracing)))


async def test_edge_configuration_is_valid(tmp_path: Path) -> None:
    """Envoy accepts envoy/edge.yaml without a warning, once there are secrets and a certificate where it looks."""
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    secret = (FOLDER / "secrets" / "server.json").read_text()
    (tmp_path / "server.json").write_text(secret.replace("/etc/berth/tls", str(tmp_path)))
    bootstrap = (FOLDER / "edge.yaml").read_text().replace("/etc/envoy/secrets", str(tmp_path))
    await assert_valid(tmp_path, yaml.safe_load(bootstrap))


async def test_sidecar_configuration_is_valid(tmp_path: Path) -> None:
    """Envoy accepts what envoy/sidecar.yaml makes of a sidecar."""
    resource = yaml.safe_load((FOLDER / "sidecar.yaml").read_text())
    assert resource["kind"] == "EnvoyFilter"
    await assert_valid(tmp_path, sidecar(resource["spec"]["configPatches"]))


async def test_the_envoy_of_the_compose_file_is_valid(tmp_path: Path) -> None:
    """What its container runs writes a configuration that Envoy accepts, and has Envoy find all replicas by a name."""
    compose = yaml.safe_load((DEPLOY / "docker" / "replicas" / "compose.yaml").read_text())
    service = compose["services"]["envoy"]
    script = (
        service["command"][0].replace("/run/envoy", str(tmp_path)).replace("exec envoy", "exec envoy --mode validate")
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *service["entrypoint"],
        script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": path, **service["environment"]},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, "warning" in said.decode()) == (0, False), said.decode()
    document = yaml.safe_load((tmp_path / "envoy.yaml").read_text())
    assert document["admin"]["address"]["socket_address"]["port_value"] == 9901
    assert {cluster["type"] for cluster in document["static_resources"]["clusters"]} == {"STRICT_DNS"}


async def test_taken_port_stops_the_start(tmp_path: Path) -> None:
    """Envoy does not start on a port that somebody else listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = EdgeSettings(rest_port=taken.getsockname()[1], access_log_path=None)
        status, said = await run_envoy(tmp_path, bootstrap(settings), "--concurrency", "1")
    assert status != 0
    assert "Address already in use" in said


@pytest.mark.parametrize("path", ["/quitquitquit", "/config_dump", "/"])
def test_admin_shows_only_what_is_needed(path: str) -> None:
    """The admin interface does not let anybody stop Envoy or read its configuration."""
    allowed = [one["prefix"] for one in bootstrap(EdgeSettings())["admin"]["allow_paths"]]
    assert not any(path.startswith(prefix) for prefix in allowed)
