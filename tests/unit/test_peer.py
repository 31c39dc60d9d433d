"""Where a call comes from, and which header is believed."""

import time
from ipaddress import ip_address
from urllib.parse import quote

import pytest
from cryptography import x509

from berth.rpc.metadata import read_metadata
from berth.rpc.peer import Trust, client_certificate, source_of
from berth.rpc.tls.forwarded import MAX_FORWARDED_LENGTH
from berth.rpc.tls.names import names_in
from support.certs.authority import Authority

XFF, OWN = "x-forwarded-for", "x-berth-client"


@pytest.mark.parametrize(
    ("peer", "headers", "trusted_hops", "source"),
    [
        ("ipv4:10.0.0.7:4711", {}, 0, "10.0.0.7"),
        ("ipv4:10.0.0.7:4711", {XFF: "1.2.3.4"}, 0, "10.0.0.7"),
        ("ipv4:10.0.0.7:4711", {OWN: "1.2.3.4"}, 0, "10.0.0.7"),
        ("ipv4:10.0.0.7:4711", {XFF: "1.2.3.4"}, 1, "1.2.3.4"),
        ("ipv4:10.0.0.7:4711", {XFF: "6.6.6.6, 1.2.3.4, 10.0.0.8"}, 2, "1.2.3.4"),
        ("ipv4:10.0.0.7:4711", {XFF: "1.2.3.4"}, 2, "10.0.0.7"),
        ("ipv4:10.0.0.7:4711", {XFF: "6.6.6.6, 1.2.3.4:5678"}, 1, "1.2.3.4"),
        ("ipv4:10.0.0.7:4711", {XFF: "[2606:4700::1]:443"}, 1, "2606:4700::1"),
        ("ipv4:10.0.0.7:4711", {XFF: "[2606:4700::1]"}, 1, "2606:4700::1"),
        ("ipv4:10.0.0.7:4711", {XFF: "2606:4700::1"}, 1, "2606:4700::1"),
        ("ipv4:10.0.0.7:4711", {XFF: "::ffff:1.2.3.4"}, 1, "::ffff:1.2.3.4"),
        ("ipv4:10.0.0.7:4711", {XFF: "no address:80"}, 1, "no address:80"),
        ("ipv4:10.0.0.7:4711", {XFF: "x" * 64}, 1, "x" * 64),
        ("ipv4:10.0.0.7:4711", {XFF: "x" * 65}, 1, "10.0.0.7"),
        ("ipv4:127.0.0.1:4711", {XFF: "1.2.3.4, " + "x" * 30_000}, 0, "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", {OWN: "fe80::1%" + "x" * 30_000}, 0, "127.0.0.1"),
        ("ipv4:10.0.0.7:4711", {OWN: "1.2.3.4", XFF: "5.6.7.8"}, 1, "5.6.7.8"),
        ("ipv6:[2001:db8::1]:4711", {XFF: "1.2.3.4"}, 0, "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:4711", {}, 0, "2001:db8::1"),
        ("ipv4:127.0.0.1:4711", {}, 0, "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", {OWN: "127.0.0.1", XFF: "192.0.2.2"}, 0, "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", {XFF: "1.2.3.4"}, 0, "1.2.3.4"),
        ("ipv4:127.0.0.1:4711", {XFF: "6.6.6.6, 1.2.3.4"}, 0, "1.2.3.4"),
        ("ipv6:%5B::1%5D:4711", {XFF: "1.2.3.4"}, 0, "1.2.3.4"),
        ("ipv4:127.0.0.1:4711", {XFF: ", "}, 0, "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", {OWN: "no address"}, 0, "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", {OWN: ""}, 0, "127.0.0.1"),
        ("unix:/tmp/x", {OWN: "1.2.3.4"}, 0, "1.2.3.4"),
        ("unix:/tmp/x", {OWN: "2001:db8::1"}, 0, "2001:db8::1"),
        ("unix:/tmp/x", {OWN: "1.2.3.4", XFF: "6.6.6.6"}, 3, "1.2.3.4"),
        ("unix:", {}, 0, "unix"),
        ("", {}, 0, "unknown"),
    ],
)
def test_the_nearest_address_that_can_be_believed(
    peer: str, headers: dict[str, str], trusted_hops: int, source: str
) -> None:
    """Envoy's own header counts from this machine, and of other proxies what the first trusted one has seen."""
    assert source_of(peer, headers, trust=Trust(trusted_hops)) == source


def test_several_headers_of_proxies_are_one_list() -> None:
    """A proxy that adds a header of its own hides none of those before it, and no client's header hides a proxy's."""
    head = read_metadata([(XFF, "6.6.6.6, 1.2.3.4"), (XFF, "10.0.0.8"), (OWN, "1.1.1.1"), (OWN, "2.2.2.2")])
    assert source_of("ipv4:10.0.0.7:4711", head.forwarded, trust=Trust(2)) == "1.2.3.4"
    assert source_of("unix:", head.forwarded, trust=Trust(envoy_on_socket=True)) == "10.0.0.8"
    name = "x-forwarded-client-cert"
    head = read_metadata([(name, FORWARDED), (name, FORWARDED)])
    found = client_certificate("unix:", {}, head.forwarded[name], trust=Trust())
    assert found is not None
    assert not found.names


@pytest.mark.parametrize(("peer", "source"), [("unix:", "1.2.3.4"), ("ipv4:127.0.0.1:4711", "127.0.0.1")])
def test_the_header_of_envoy_counts_from_its_socket_alone(peer: str, source: str) -> None:
    """Where Envoy has a socket of its own, another proxy on this machine may hand on what a stranger sent."""
    assert source_of(peer, {OWN: "1.2.3.4"}, trust=Trust(envoy_on_socket=True)) == source


SPIFFE, VICTIM = "spiffe://cluster.local/ns/a/sa/b", "spiffe://cluster.local/ns/a/sa/victim"
AUTHORITY = Authority()


def pem(*names: x509.GeneralName) -> bytes:
    """Return a certificate with alternative names of any type."""
    return AUTHORITY.certificate(*names)


CLIENT = pem(x509.UniformResourceIdentifier(SPIFFE), x509.DNSName("a.example"))
OTHER = pem(x509.UniformResourceIdentifier("spiffe://x/y"))
HANDSHAKE = {"x509_pem_cert": [OTHER], "x509_subject_alternative_name": [b"not.read"]}


def encoded(certificates: bytes) -> str:
    return f'"{quote(certificates.decode(), safe="")}"'


BY, HASH = "By=spiffe://berth", f"Hash={'0a' * 32}"
CERT, CHAIN = f"Cert={encoded(CLIENT)}", f"Chain={encoded(CLIENT + OTHER)}"
FORWARDED = f"{BY};{HASH};{CERT}"


@pytest.mark.parametrize(
    ("peer", "trust_sidecar", "forwarded", "names"),
    [
        ("ipv4:10.0.0.7:1", False, FORWARDED, ["spiffe://x/y"]),
        ("ipv4:127.0.0.1:1", False, FORWARDED, ["spiffe://x/y"]),
        ("ipv4:10.0.0.7:1", True, FORWARDED, ["spiffe://x/y"]),
        ("ipv4:127.0.0.6:1", True, FORWARDED, [SPIFFE, "a.example"]),
        ("unix:", False, None, []),
        ("unix:", False, "", []),
        ("unix:", False, FORWARDED, [SPIFFE, "a.example"]),
        ("unix:", False, f"{HASH};{CERT}", [SPIFFE, "a.example"]),
        ("unix:", False, f'{FORWARDED};Subject="CN=a";URI={VICTIM}', [SPIFFE, "a.example"]),
        ("unix:", False, f"{FORWARDED};URI=spiffe://x/y,URI={VICTIM}", [SPIFFE, "a.example"]),
        ("unix:", False, f"{FORWARDED};URI=spiffe://x/y,Chain={encoded(OTHER)}", [SPIFFE, "a.example"]),
        ("unix:", False, f"{BY};{HASH};{CHAIN}", [SPIFFE, "a.example"]),
        ("unix:", False, f"{BY};{HASH};Cert={encoded(OTHER)};{CHAIN}", [SPIFFE, "a.example"]),
        ("unix:", False, f"{BY};{HASH};URI={SPIFFE}", []),
        ("unix:", False, f"{BY};{HASH};URI=spiffe://x/y,{CERT}", []),
        ("unix:", False, f"{BY};{HASH};URI=spiffe://x/y,{FORWARDED}", []),
        ("unix:", False, f"{FORWARDED},{FORWARDED}", []),
        ("unix:", False, f"{CERT},{BY};{HASH};URI=spiffe://x/y", []),
        ("unix:", False, f"URI={SPIFFE},{FORWARDED}", []),
        ("unix:", False, f"URI={SPIFFE}", []),
        ("unix:", False, CERT, []),
        ("unix:", False, f'{HASH};Cert="nonsense"', []),
        ("unix:", False, f'{HASH};Cert="', []),
        ("unix:", False, f"{HASH};", []),
        ("unix:", False, "x" * 40_000 + FORWARDED, []),
        ("unix:", False, FORWARDED + ";" * 40_000, []),
        ("unix:", False, ",;=,", []),
    ],
)
def test_names_in_certificates(peer: str, *, trust_sidecar: bool, forwarded: str | None, names: list[str]) -> None:
    """They are read from the certificate of the handshake, or from the one that a single trusted hop forwards."""
    certificate = client_certificate(peer, HANDSHAKE, forwarded, trust=Trust(sidecar=trust_sidecar))
    assert list(certificate.names if certificate else ()) == names


@pytest.mark.parametrize(
    "name",
    [
        x509.UniformResourceIdentifier(f"spiffe://x/y;URI={VICTIM}"),
        x509.UniformResourceIdentifier(f"spiffe://x/y,URI={VICTIM}"),
        x509.UniformResourceIdentifier(f'spiffe://x/y"{VICTIM}'),
        x509.UniformResourceIdentifier("runner.example"),
        x509.DNSName(f"q;DNS={VICTIM}"),
        x509.DNSName(VICTIM),
        x509.DNSName("runner.example\0.evil"),
        x509.DNSName("runner.example\n"),
        x509.RFC822Name("runner.example"),
        x509.IPAddress(ip_address("127.0.0.1")),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ],
    ids=str,
)
def test_a_name_is_of_its_type_and_nothing_else(name: x509.GeneralName) -> None:
    """A name that looks like another one, or like several, is none, whoever did the handshake."""
    certificate = pem(name)
    forwarded = f"{BY};{HASH};Cert={encoded(certificate)}"
    for peer in ("unix:", "ipv4:10.0.0.7:1"):
        found = client_certificate(peer, {"x509_pem_cert": [certificate]}, forwarded, trust=Trust())
        assert found is not None
        assert not found.names


def test_names_of_rare_types_are_no_error() -> None:
    """A certificate with an ediPartyName or x400Address, which the library cannot read, has no names."""
    for encoded in (bytes.fromhex("3006a504a1020c00"), bytes.fromhex("3004a3023000")):
        assert names_in(AUTHORITY.certificate(alternative_names=encoded)) == ()


def test_a_header_is_read_in_linear_time() -> None:
    """No header of 32 kB takes long, whatever it repeats."""
    began = time.process_time()
    for text in ("By=", "Hash=", 'Cert="', '";', "\\", ";", ",", f'{HASH};Cert="'):
        for prefix in ("", f"{HASH};", f'{HASH};Cert="'):
            header = (prefix + text * MAX_FORWARDED_LENGTH)[:MAX_FORWARDED_LENGTH]
            assert client_certificate("unix:", {}, header, trust=Trust()) is not None
    assert time.process_time() - began < 1
