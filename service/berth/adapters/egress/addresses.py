"""Addresses: which of them are on the public internet, so that a name may lead there."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from berth.core.hosted.domains import read_address

_PUBLIC_IPV6 = ip_network("2000::/3")
"""All that is assigned for public use. Beyond it are loopback, private, link-local and multicast addresses, and those
that contain one of IPv4: mapped, translated (NAT64) and compatible ones."""
_CLOSED = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
            "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
            "168.63.129.16/32",  # public by its number; on Azure it is the platform itself
            "2001::/23", "2001:db8::/32", "3fff::/20",
            "2002::/16",  # 6to4 has an address of IPv4 inside
        ),
    )
)  # fmt: skip
"""The registries of special-purpose addresses of IANA, spelled out because versions of Python differ in them."""


class Reach:
    """Decides which addresses may be connected to: public ones, and those in `opened` networks."""

    def __init__(self, opened: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._opened = opened

    def is_opened(self, text: str) -> bool:
        """Return whether the configuration opens this address."""
        address = read_address(text)
        return address is not None and any(address in network for network in self._opened)

    def allows(self, text: str) -> bool:
        """Return whether this address may be connected to."""
        address = read_address(text)
        if address is None:
            return False
        is_public = (address.version == 4 or address in _PUBLIC_IPV6) and not any(  # noqa: PLR2004 - the version of IP
            address in network for network in _CLOSED
        )
        return is_public or self.is_opened(text)
