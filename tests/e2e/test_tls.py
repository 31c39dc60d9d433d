"""TLS and mTLS on both listeners: who gets in, as whom, and what a renewed certificate takes."""

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import pytest
from cryptography import x509

from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.error_pb2 import ErrorReply
from berth.v1.provider_pb2 import Provider
from support.certs.authority import Authority
from support.clients.envelope import expect
from support.servers.empty_database import put_empty_database
from support.servers.encrypted import ADDRESS, DNS, KEY, SPIFFE, Place, placed

NEW = {"provider": "ollama", "name": "x"}
RENEWED_SECONDS = 30.0


@pytest.fixture(scope="module")
def optional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a Berth that asks for certificates, and does without."""
    with placed(tmp_path_factory.mktemp("optional"), require=False) as place:
        yield place


@pytest.fixture(scope="module")
def required(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Run a Berth that nobody reaches without a certificate."""
    with placed(tmp_path_factory.mktemp("required"), require=True) as place:
        yield place


@pytest.fixture(params=["optional", "required"])
def place(request: pytest.FixtureRequest) -> Place:
    """Return each of both."""
    found: Place = request.getfixturevalue(request.param)
    return found


def tenant_of(place: Place, container_id: str) -> object:
    """Return whose a container is, as the audit trail has it."""
    return place.berth.lines(event="container.created", id=container_id)[0]["tenant"]


@pytest.mark.parametrize(("names", "tenant"), [((SPIFFE,), "mesh"), ((DNS,), "dns"), (("other", SPIFFE), "mesh")])
def test_a_certificate_says_who_is_calling(place: Place, names: tuple[str, ...], tenant: str) -> None:
    """Its holder gets in without a key, over REST, as the tenant of its name."""
    with place.rest(place.authority.client(*names)) as client:
        made = client.post("/v1/containers", json=NEW)
    assert made.status_code == 200
    assert tenant_of(place, made.json()["id"]) == tenant


@pytest.mark.parametrize("way", ["service", "envoy"])
def test_grpc_callers_have_certificates_too(required: Place, way: str) -> None:
    """On the service's own port and on Envoy's; a provider that the name may not use is blocked."""
    address = urlsplit(required.berth.rest).netloc if way == "envoy" else None
    with required.channel(required.authority.client(SPIFFE), address) as channel:
        stub = ContainerServiceStub(channel)
        made = stub.CreateContainer(CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="x"), timeout=30)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListContainers(ListContainersRequest(provider=Provider.PROVIDER_GROQ), timeout=30)
    assert tenant_of(required, made.id) == "mesh"
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_a_name_of_nobody_stays_out(place: Place) -> None:
    """A certificate of the right authority with a name that nobody here has is a 401 that says so."""
    with place.rest(place.authority.client("spiffe://cluster.local/ns/agents/sa/other")) as client:
        expect(client.post("/v1/containers", json=NEW), 401, None, "certificate_not_found")
        assert client.get("/v1/containers", headers={"x-bf-vk": KEY}).status_code == 200


def test_spiffe_names_are_compared_exactly(place: Place) -> None:
    """Unlike DNS names, they are told apart by case, and none is good for what begins with it."""
    for name in (SPIFFE.replace("runner", "Runner"), SPIFFE + "/x", SPIFFE[:-1]):
        with place.rest(place.authority.client(name)) as client:
            expect(client.get("/v1/containers"), 401, None, "certificate_not_found")


def test_a_key_goes_before_a_certificate(place: Place) -> None:
    """Who sends a key of ours is its tenant; a wrong one is refused; one of a provider's says nothing."""
    with place.rest(place.authority.client(SPIFFE)) as client:
        keyed = client.post("/v1/containers", json=NEW, headers={"authorization": f"Bearer {KEY}"})
        assert tenant_of(place, keyed.json()["id"]) == "keyed"
        expect(client.get("/v1/containers", headers={"x-bf-vk": "sk-bf-wrong"}), 401, None, "virtual_key_not_found")
        beside = client.post("/v1/containers", json=NEW, headers={"authorization": "Bearer sk-proj-dummy"})
        assert tenant_of(place, beside.json()["id"]) == "mesh"


def test_without_a_certificate_a_key_is_needed(optional: Place) -> None:
    """Where certificates are not required: a key does, nothing at all is a 401."""
    with optional.rest() as client:
        assert client.get("/v1/containers", headers={"x-bf-vk": KEY}).status_code == 200
        expect(client.get("/v1/containers"), 401, None, "virtual_key_required")
    with optional.channel() as channel:
        request = ListContainersRequest(provider=Provider.PROVIDER_OLLAMA)
        ContainerServiceStub(channel).ListContainers(request, metadata=(("x-bf-vk", KEY),), timeout=30)


def test_without_a_certificate_nobody_gets_in(required: Place) -> None:
    """Where they are required the handshake fails, on both listeners, with a key as well."""
    with required.rest() as client, pytest.raises(httpx2.TransportError):
        client.get("/v1/containers", headers={"x-bf-vk": KEY})
    with required.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        ContainerServiceStub(channel).ListContainers(ListContainersRequest(), metadata=(("x-bf-vk", KEY),), timeout=5)
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_another_authority_gets_nobody_in(place: Place) -> None:
    """A certificate with the right name, of an authority that is not trusted, fails the handshake."""
    forged = Authority().client(SPIFFE)
    with place.rest(forged) as client, pytest.raises(httpx2.TransportError):
        client.get("/v1/containers", headers={"x-bf-vk": KEY})


@pytest.mark.parametrize("header", [f"URI={SPIFFE}", f'By=x;Hash=y;URI="{SPIFFE}"', f"URI=a,URI={SPIFFE}"])
def test_nobody_is_believed_what_they_say_of_themselves(optional: Place, header: str) -> None:
    """A header about a certificate is taken off by Envoy, and not looked at where there is no Envoy."""
    with optional.rest(None, **{"x-forwarded-client-cert": header}) as client:
        expect(client.get("/v1/containers"), 401, None, "virtual_key_required")
    metadata = (("x-forwarded-client-cert", header),)
    with optional.channel() as channel:
        call: Any = ContainerServiceStub(channel).ListContainers.future(ListContainersRequest(), metadata=metadata)
        error = call.exception(timeout=30)
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert ErrorReply.FromString(details).error.code.string_value == "virtual_key_required"


def test_a_holder_cannot_be_another(place: Place) -> None:
    """Who has a certificate and claims another name in the header stays who it is."""
    with place.rest(place.authority.client(DNS), **{"x-forwarded-client-cert": f"URI={SPIFFE}"}) as client:
        made = client.post("/v1/containers", json=NEW)
    assert tenant_of(place, made.json()["id"]) == "dns"


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([x509.UniformResourceIdentifier(f"spiffe://x/y;URI={SPIFFE}")], "virtual_key_required"),
        ([x509.UniformResourceIdentifier(f"spiffe://x/y,URI={SPIFFE}")], "virtual_key_required"),
        ([x509.DNSName(f"q;DNS={DNS}")], "virtual_key_required"),
        ([x509.DNSName(f"{DNS}\0.evil")], "virtual_key_required"),
        ([x509.DNSName(SPIFFE)], "virtual_key_required"),
        ([x509.RFC822Name(DNS)], "virtual_key_required"),
        ([x509.IPAddress(ip_address(ADDRESS))], "virtual_key_required"),
        ([x509.DNSName(DNS), x509.UniformResourceIdentifier(SPIFFE)], "conflicting_credentials"),
    ],
    ids=["semicolon", "comma", "name", "zero byte", "type", "email", "address", "two tenants"],
)
def test_no_name_passes_for_another(required: Place, names: list[x509.GeneralName], code: str) -> None:
    """A name that looks like another one, or like several, is none; of two tenants none is chosen."""
    issued = required.authority.client_with(*names)
    with required.rest(issued) as client:
        expect(client.get("/v1/containers"), 401, None, code)
    with required.channel(issued) as channel:
        error: Any = ContainerServiceStub(channel).ListContainers.future(ListContainersRequest()).exception(timeout=30)
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert ErrorReply.FromString(details).error.code.string_value == code


def test_a_renewed_certificate_is_used(tmp_path: Path) -> None:
    """On both listeners, without a restart; one that cannot be used changes nothing, and the log says why."""
    planted = tmp_path / "planted"  # where a link in the data folder leads, for the secrets of Envoy
    planted.mkdir()
    (tmp_path / "data").mkdir(mode=0o700)
    put_empty_database(tmp_path / "data" / "berth.db")
    (tmp_path / "data" / "secrets").symlink_to(planted)
    with placed(tmp_path, require=True) as place:
        client = place.authority.client(SPIFFE)
        addresses = [urlsplit(place.berth.rest).netloc, place.berth.grpc]
        before = [place.serial(address, client) for address in addresses]
        assert before[0] == before[1]
        with place.channel(client) as open_before:
            stub, request = ContainerServiceStub(open_before), ListContainersRequest(provider=Provider.PROVIDER_OLLAMA)
            stub.ListContainers(request, timeout=30)
            place.renew()
            _until(lambda: all(place.serial(address, client) != before[0] for address in addresses))
            stub.ListContainers(request, timeout=30)
        after = [place.serial(address, client) for address in addresses]
        (tmp_path / "server.key").write_bytes(place.authority.server().key)
        _until(lambda: bool(place.events("tls.reload_failed")))
        assert "tls.key: cannot use" in str(place.events("tls.reload_failed")[0]["reason"])
        assert [place.serial(address, client) for address in addresses] == after
        place.renew()
        _until(lambda: all(place.serial(address, client) != after[0] for address in addresses))
    assert list(planted.iterdir()) == []


def _until(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RENEWED_SECONDS
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
