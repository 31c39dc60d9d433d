"""An Envoy that is deployed on its own, with what `berth envoy-config` writes for it: renewed certificates."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
import yaml

from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from support.certs.authority import Authority, Issued
from support.certs.mounted import Mounted
from support.clients.polling import wait_until
from support.servers.background import in_background
from support.servers.encrypted import serial_at
from support.servers.process import refused_berth

SPIFFE = "spiffe://cluster.local/ns/agents/sa/runner"


@dataclass(frozen=True)
class Deployed:
    """A running Envoy, the folder of its certificates, and their authority."""

    port: int
    authority: Authority
    mounted: Mounted
    folder: Path

    def serves(self, client: Issued) -> bool:
        """Return whether the holder of a certificate gets an answer on a new connection."""
        context = self.authority.trusting(self.folder, client)
        try:
            with httpx2.Client(base_url=f"https://127.0.0.1:{self.port}", verify=context, timeout=30) as rest:
                return rest.get("/v1/containers").status_code == httpx2.codes.SERVICE_UNAVAILABLE
        except httpx2.TransportError:
            return False

    def serial(self, client: Issued) -> str:
        """Return the serial number of the certificate that is shown."""
        return serial_at(f"127.0.0.1:{self.port}", self.authority.trusting(self.folder, client))


def printed(folder: Path, mounted: Mounted) -> Any:
    """Return the bootstrap that the command prints for the certificates in `mounted`; no service answers there."""
    files = {"certificate": "tls.crt", "key": "tls.key", "client_ca": "ca.crt", "client_crl": "ca.crl"}
    tls = {setting: str(mounted.folder / name) for setting, name in files.items()}
    config = folder / "edge.yaml"
    config.write_text(yaml.safe_dump({"listen": {"rest": "127.0.0.1:0", "grpc": "127.0.0.1:1"}, "tls": tls}))
    code, output, errors = refused_berth("envoy-config", "--config", str(config), "--secrets", str(folder / "secrets"))
    assert (code, errors) == (0, "")
    return yaml.safe_load(output)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    """Run an Envoy with the printed bootstrap."""
    authority = Authority()
    server = authority.server()
    mounted = Mounted(
        tmp_path / "tls",
        tls_crt=server.chain,
        tls_key=server.key,
        ca_crt=authority.pem,
        ca_crl=authority.revocation_list(),
    )
    bootstrap = printed(tmp_path, mounted) | {"admin": {"address": {"pipe": {"path": ADMIN_SOCKET}}}}
    log = structlog.get_logger()
    envoy = running_envoy(bootstrap, tmp_path / "run", listener="rest", grace_seconds=1.0, json_log=False, log=log)
    with in_background(envoy) as running:
        yield Deployed(running.port, authority, mounted, tmp_path)


def test_renewed_files_are_used_without_a_restart(deployed: Deployed) -> None:
    """The certificate, revocation lists and authorities, when Kubernetes replaces the link to them."""
    authority, mounted = deployed.authority, deployed.mounted
    kept, revoked = authority.client(SPIFFE), authority.client(SPIFFE)
    before = deployed.serial(kept)
    assert deployed.serves(kept)
    assert deployed.serves(revoked)
    server = authority.server()
    mounted.replace(tls_crt=server.chain, tls_key=server.key)
    wait_until(lambda: deployed.serial(kept) != before)
    mounted.replace(ca_crl=authority.revocation_list(revoked))
    wait_until(lambda: not deployed.serves(revoked))
    assert deployed.serves(kept)
    other = Authority()
    mounted.replace(ca_crt=other.pem, ca_crl=other.revocation_list())
    wait_until(lambda: not deployed.serves(kept))
    assert deployed.serves(other.client(SPIFFE))
