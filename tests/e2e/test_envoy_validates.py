"""Envoy's own opinion of the configurations that are shipped."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from berth.launch.envoy_binary import envoy_program
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings

FOLDER = Path(__file__).parents[2] / "envoy"


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


async def test_edge_configuration_is_valid(tmp_path: Path) -> None:
    """Envoy accepts envoy/edge.yaml without a warning, once there is a certificate where it looks for one."""
    document = yaml.safe_load((FOLDER / "edge.yaml").read_text())
    chain = document["static_resources"]["listeners"][0]["filter_chains"][0]
    certificate = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"][0]
    issued = trustme.CA().issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    issued.private_key_pem.write_to_path(tmp_path / "tls.key")
    for part in certificate.values():
        part["filename"] = str(tmp_path / Path(part["filename"]).name)
    await assert_valid(tmp_path, document)


def sidecar(patches: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a bare proxy with the patches of an EnvoyFilter applied to it."""
    document = bootstrap(EdgeSettings())
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    bare = {key: manager[key] for key in ("@type", "stat_prefix", "route_config")}
    bare["http_filters"] = [manager["http_filters"][-1]]
    for patch in patches:
        value = patch["patch"]["value"]
        match patch["applyTo"]:
            case "NETWORK_FILTER":
                bare |= value["typed_config"]
            case "HTTP_FILTER":
                bare["http_filters"].insert(-1, value)
            case "CLUSTER":
                document["static_resources"]["clusters"][0] |= value
            case other:
                raise AssertionError(other)
    manager.clear()
    manager.update(bare)
    return document


async def test_sidecar_configuration_is_valid(tmp_path: Path) -> None:
    """Envoy accepts what envoy/sidecar.yaml makes of a sidecar."""
    resource = yaml.safe_load((FOLDER / "sidecar.yaml").read_text())
    assert resource["kind"] == "EnvoyFilter"
    await assert_valid(tmp_path, sidecar(resource["spec"]["configPatches"]))


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
