"""What a request may name, what an allowlist permits, and which addresses are public."""

from ipaddress import ip_network

import pytest

from berth.adapters.egress.addresses import Reach
from berth.adapters.egress.hosts import Allowlist, plain_domains, read_authority
from berth.core.hosted.domains import plain_host

ALLOWED = (
    ("shop.example", "shop.example"),
    ("PyPI.org", "pypi.ORG"),
    ("shop.example", "shop.example."),
    ("shop.example.", "shop.example"),
    ("*.example.com", "a.example.com"),
    ("*.example.com", "a.b.example.com"),
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("my_host.example", "my_host.example"),
    ("127.0.0.1", "127.0.0.1"),
    ("::1", "[::1]"),
    ("[::1]", "[0:0::1]"),
)
REFUSED = (
    ("shop.example", "evil-shop.example"),
    ("shop.example", "files.shop.example"),
    ("shop.example", "shop.example.evil.example"),
    ("shop.example", "shop.example.."),
    ("*.example.com", "example.com"),
    ("*.example.com", "evilexample.com"),
    ("*.example.com", ".example.com"),
    ("*", "example.com"),
    ("*.", "example.com"),
    ("*.*", "example.com"),
    ("a.*.com", "a.b.com"),
    ("https://shop.example", "shop.example"),
    ("shop.example:443", "shop.example"),
    ("shop.example/simple", "shop.example"),
    ("", ""),
    ("*.0.0.1", "127.0.0.1"),
    ("2130706433", "2130706433"),
    ("0177.0.0.1", "0177.0.0.1"),
    ("0x7f.1", "0x7f.1"),
    ("127.1", "127.1"),
    ("fe80::1%eth0", "fe80::1%eth0"),
)


@pytest.mark.parametrize(("domain", "host"), ALLOWED)
def test_an_allowed_host_is_found_however_it_is_spelled(domain: str, host: str) -> None:
    """Case, a dot at the end and letters of other languages make no difference; a wildcard means all below it."""
    plain = plain_host(host)
    assert plain is not None
    assert Allowlist(plain_domains([domain])).permits(plain)


@pytest.mark.parametrize(("domain", "host"), REFUSED)
def test_no_other_host_is_allowed(domain: str, host: str) -> None:
    """Neither what only looks alike, nor by an entry that is no domain, nor an address in a spelling of its own."""
    plain = plain_host(host)
    assert plain is None or not Allowlist(plain_domains([domain])).permits(plain)


@pytest.mark.parametrize(
    "text",
    ["", ":80", "a", "a:", "a:0", "a:65536", "a:080000", "a:-1", "u@a:80", "u:p@a:80", "a b:80", "a:80:80",
     "[::1%lo]:1", "[::1:80", "a%2e:80", "a\\b:80", "ä:80", "a/:80", "a?:80", "a#:80", "a:٣"],
)  # fmt: skip
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    """There is no second reading of an authority: no user, no zone, no escape, no missing port."""
    assert read_authority(text) is None


CLOSED = (
    "0.0.0.1", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "", "localhost", "1",
)  # fmt: skip


@pytest.mark.parametrize("address", CLOSED)
def test_an_address_that_is_not_public_is_closed(address: str) -> None:
    """Private, loopback, link-local, metadata, multicast, reserved, documentation and translated addresses are."""
    assert not Reach().allows(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.0.223", "172.32.0.1", "2606:4700::1111", "2a04:4e42::223"])
def test_a_public_address_is_open(address: str) -> None:
    """Addresses of the internet can be reached."""
    assert Reach().allows(address)


def test_the_configuration_opens_networks() -> None:
    """What is opened can be reached, its neighbours and the same address in another form cannot."""
    reach = Reach([ip_network("10.1.0.0/16"), ip_network("127.0.0.1/32"), ip_network("fd00::/8")])
    assert [reach.allows(one) for one in ("10.1.2.3", "127.0.0.1", "fd00::1")] == [True] * 3
    assert [reach.allows(one) for one in ("10.2.0.1", "127.0.0.2", "::ffff:127.0.0.1", "fe80::1")] == [False] * 4
