"""`berth serve` with the sidecar of a mesh in front of it: only certificates that it forwards identify callers."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx2
import pytest
import structlog
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from berth.launch.envoy.admin import EnvoyAdmin
from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from berth.rest.envoy.edge import EdgeSettings, Tls
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.certs.authority import Authority, Issued
from support.clients.polling import wait_until
from support.deployments.mesh import FORWARDS_NAMES, manager_of, merged, sidecar
from support.servers.background import in_background
from support.servers.encrypted import AUTH, DNS, KEY, SPIFFE
from support.servers.process import BerthProcess, running_berth

FILTER = Path(__file__).parents[2] / "envoy" / "sidecar.yaml"
FILTERED, NAMES, APPENDING = "rest", "names", "appending"
"""Sidecars: with the filter that Berth ships, with what Istio sets, and with that and the certificate."""
FORWARDED = "x-forwarded-client-cert"
LONG_SECONDS = 3.0
"""What one call takes at most; with an expression that searches again and again it was 10 s."""
NOT_FORWARDED = "auth.certificate_not_forwarded"
LOG = structlog.get_logger()


@dataclass(frozen=True)
class Mesh:
    """A Berth, the ports of its sidecars, and the authority of the callers."""

    berth: BerthProcess
    ports: dict[str, int]
    authority: Authority
    folder: Path

    def outcome(self, name: str, caller: Issued, **headers: str) -> object:
        """Create a container over REST; return the tenant that has it, or the code of the error."""
        context = self.authority.trusting(self.folder, caller)
        address = f"https://127.0.0.1:{self.ports[name]}"
        with httpx2.Client(base_url=address, verify=context, timeout=30) as client:
            answer = client.post("/v1/containers", json={"name": "x"}, headers=headers)
        body = answer.json()
        return self.tenant_of(body["id"]) if answer.status_code == httpx2.codes.OK else body["error"]["code"]

    def tenant_of(self, container_id: str) -> object:
        """Return the tenant of a container, as the audit trail has it."""
        wait_until(lambda: any(each.get("id") == container_id for each in self.events("container.created")))
        return next(each["tenant"] for each in self.events("container.created") if each["id"] == container_id)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what Berth has logged of one kind."""
        lines = [json.loads(line) for line in self.berth.errors.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


def configuration(folder: Path, authority: Authority, grpc_port: int) -> Any:
    """Return the bootstrap of the sidecars, which differ in what they say about certificates."""
    names = (
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/b/sa/berth"),
    )
    certificate, key = authority.client_with(*names).write(folder, "server")
    (folder / "ca.crt").write_bytes(authority.pem)
    tls = Tls(str(certificate), str(key), client_ca_path=str(folder / "ca.crt"), require_client_certificate=True)
    settings = EdgeSettings(rest_port=0, grpc_port=grpc_port, admin_socket=ADMIN_SOCKET, access_log_path=None, tls=tls)
    document = sidecar(yaml.safe_load(FILTER.read_text())["spec"]["configPatches"], settings)
    listeners = document["static_resources"]["listeners"]
    appended = merged(FORWARDS_NAMES, {"set_current_client_cert_details": {"cert": True}})
    for name, forwarded in ((NAMES, FORWARDS_NAMES), (APPENDING, appended)):
        listeners.append(deepcopy(listeners[0]) | {"name": name})
        manager_of(listeners[-1]).update(forwarded)
    return document


@asynccontextmanager
async def running_sidecars(document: Any, folder: Path) -> AsyncIterator[dict[str, int]]:
    """Run an Envoy with the sidecars; return their ports."""
    async with running_envoy(document, folder, listener=FILTERED, grace_seconds=1.0, json_log=False, log=LOG):
        admin = EnvoyAdmin(folder / ADMIN_SOCKET)
        yield {name: await admin.listening_port(name) for name in (FILTERED, NAMES, APPENDING)}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Run a Berth that trusts its sidecars."""
    folder, authority = tmp_path_factory.mktemp("mesh"), Authority()
    config = folder / "berth.yaml"
    config.write_text(yaml.safe_dump({"default_provider": "ollama", "listen": {"trust_sidecar": True}, "auth": AUTH}))
    with running_berth("serve", folder / "data", "--config", str(config)) as berth:
        document = configuration(folder, authority, int(berth.ready["grpc"].rpartition(":")[2]))
        with in_background(running_sidecars(document, folder / "envoy")) as ports:
            yield Mesh(berth, ports, authority, folder)


def element(caller: Issued, kind: str = "Cert") -> str:
    """Return what an Envoy says about a caller with a certificate."""
    digest = x509.load_pem_x509_certificate(caller.chain).fingerprint(hashes.SHA256()).hex()
    return f'By=spiffe://berth;Hash={digest};{kind}="{quote(caller.chain.decode(), safe="")}"'


def test_callers_are_known_by_the_certificate_that_is_forwarded(mesh: Mesh) -> None:
    """With the filter, over REST and gRPC, and also if the sidecar forwards names beside the certificate."""
    assert mesh.outcome(FILTERED, mesh.authority.client(SPIFFE)) == "mesh"
    assert mesh.outcome(FILTERED, mesh.authority.client("spiffe://x/y", DNS)) == "dns"
    assert mesh.outcome(APPENDING, mesh.authority.client(SPIFFE)) == "mesh"
    caller = mesh.authority.client(SPIFFE)
    credentials = grpc.ssl_channel_credentials(mesh.authority.pem, caller.key, caller.chain)
    with grpc.secure_channel(f"127.0.0.1:{mesh.ports[FILTERED]}", credentials) as channel:
        request = CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="x")
        assert mesh.tenant_of(ContainerServiceStub(channel).CreateContainer(request, timeout=30).id) == "mesh"


@pytest.mark.parametrize("name", [FILTERED, NAMES, APPENDING])
def test_no_name_passes_for_another(mesh: Mesh, name: str) -> None:
    """A URI or a DNS name that looks like more names, certificates or hops identifies no caller."""
    victim = mesh.authority.client(SPIFFE)
    for text in (
        f"spiffe://x/y,URI={SPIFFE}",
        f"spiffe://x/y;URI={SPIFFE}",
        f"spiffe://x/y,{element(victim)}",
        f"spiffe://x/y;{element(victim)}",
        f'spiffe://x/y",{element(victim, "Chain")}',
        f"spiffe://x/y,{element(victim).partition(';Hash')[0]};{element(victim).partition(';Cert')[2]}",
    ):
        for name_type in (x509.UniformResourceIdentifier, x509.DNSName):
            assert mesh.outcome(name, mesh.authority.client_with(name_type(text))) == "virtual_key_required", text


def test_no_caller_describes_itself(mesh: Mesh) -> None:
    """What a caller says about its certificate is dropped with the filter; elsewhere it identifies no caller."""
    victim, other = mesh.authority.client(SPIFFE), mesh.authority.client(DNS)
    for claimed in (element(victim), element(victim, "Chain"), element(victim).partition(";")[2], f"URI={SPIFFE}"):
        assert mesh.outcome(FILTERED, other, **{FORWARDED: claimed}) == "dns"
        for name in (NAMES, APPENDING):
            assert mesh.outcome(name, other, **{FORWARDED: claimed}) == "virtual_key_required"


def test_a_long_header_is_read_at_once(mesh: Mesh) -> None:
    """One of 30 kB in a form that parsers find hard is answered as fast as any other."""
    caller = mesh.authority.client(DNS)
    for text in ('URI="' + '\\"' * 15_000, 'Cert="' * 5_000, "By=;" * 7_500):
        began = time.monotonic()
        assert mesh.outcome(APPENDING, caller, **{FORWARDED: text}) == "virtual_key_required"
        assert time.monotonic() - began < LONG_SECONDS


def test_names_alone_identify_no_caller(mesh: Mesh) -> None:
    """They are a 401, and the log says once what the sidecar lacks; callers with keys are served."""
    caller = mesh.authority.client(SPIFFE)
    for _ in range(3):
        assert mesh.outcome(NAMES, caller) == "virtual_key_required"
    assert mesh.outcome(NAMES, caller, **{"x-bf-vk": KEY}) == "keyed"
    (event,) = mesh.events(NOT_FORWARDED)
    assert event["level"] == "warning"
    assert "set_current_client_cert_details: {cert: true}" in event["reason"]
