"""Where a call comes from, and which header is believed."""

import pytest

from berth.rpc.peer import Trust, certificate_names, source_of

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


@pytest.mark.parametrize(("peer", "source"), [("unix:", "1.2.3.4"), ("ipv4:127.0.0.1:4711", "127.0.0.1")])
def test_the_header_of_envoy_counts_from_its_socket_alone(peer: str, source: str) -> None:
    """Where Envoy has a socket of its own, another proxy on this machine may hand on what a stranger sent."""
    assert source_of(peer, {OWN: "1.2.3.4"}, trust=Trust(envoy_on_socket=True)) == source


HANDSHAKE = {"x509_subject_alternative_name": [b"a.example", b"spiffe://a/b"]}


@pytest.mark.parametrize(
    ("peer", "trust_sidecar", "forwarded", "names"),
    [
        ("ipv4:10.0.0.7:1", False, "URI=spiffe://x", ["a.example", "spiffe://a/b"]),
        ("ipv4:127.0.0.1:1", False, "URI=spiffe://x", ["a.example", "spiffe://a/b"]),
        ("ipv4:10.0.0.7:1", True, "URI=spiffe://x", ["a.example", "spiffe://a/b"]),
        ("ipv4:127.0.0.6:1", True, "URI=spiffe://x", ["spiffe://x"]),
        ("unix:", False, "URI=spiffe://x", ["spiffe://x"]),
        ("unix:", False, None, []),
        ("unix:", False, "", []),
        ("unix:", False, "By=spiffe://berth;Hash=00;URI=spiffe://x;DNS=a;DNS=b", ["spiffe://x", "a", "b"]),
        ("unix:", False, 'Subject="CN=a,O=\\"b;URI=spiffe://no\\"";URI=spiffe://x', ["spiffe://x"]),
        ("unix:", False, "URI=spiffe://far,URI=spiffe://near", ["spiffe://near"]),
        ("unix:", False, 'URI="spiffe://a,b;c"', ["spiffe://a,b;c"]),
        ("unix:", False, "URI=", []),
        ("unix:", False, 'URI="', []),
        ("unix:", False, 'URI="' + '\\"' * 15_000 + ",URI=spiffe://x", []),
        ("unix:", False, ",;=,", []),
    ],
)
def test_names_in_certificates(peer: str, *, trust_sidecar: bool, forwarded: str | None, names: list[str]) -> None:
    """They come from the handshake, or from an Envoy that can be believed; of its header the nearest hop counts."""
    assert certificate_names(peer, HANDSHAKE, forwarded, trust=Trust(sidecar=trust_sidecar)) == names
