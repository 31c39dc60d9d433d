"""What counts as one caller where callers are limited by their addresses."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

MAX_SOURCES = 4096
"""How many sources are cached with their networks: connections are counted again each second."""
_HOST_BITS = 64
"""Half of an address: the first half is the network of a customer."""
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""What translators make of IPv4 addresses (RFC 6052, RFC 8215): clients of all the Internet are in these networks."""
_PRIVATE = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"), IPv6Network("::/96"))
"""Networks of an organisation, of a link, and of a machine. `is_private` is about others, too, in newer versions."""


@lru_cache(MAX_SOURCES)
def network_of(source: str) -> str:
    """Return what counts as one address: of public IPv6 the network of 64 bits, which one customer has for itself.

    Addresses of private networks are those of single machines or pods. An address that contains one of IPv4 counts as
    that: who has this one could choose the rest. A text that is no address stays what it is.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if not isinstance(address, IPv6Address):
        return source
    contained = _ipv4_in(address)
    if contained:
        return str(contained)
    if any(address in network for network in _PRIVATE):
        return source
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"


def _ipv4_in(address: IPv6Address) -> IPv4Address | None:
    """Return the address of IPv4 in a mapped or translated one, or in that of a tunnel (6to4, Teredo)."""
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
