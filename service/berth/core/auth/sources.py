"""What counts as one caller where callers are limited by their addresses."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_CUSTOMER_BITS = 64
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""What translators make of IPv4 addresses (RFC 6052): clients of all the Internet are in this network."""


def network_of(source: str) -> str:
    """Return what counts as one address: of public IPv6 the network of 64 bits, which one customer has for itself.

    Addresses of private networks are those of single machines or pods. A text that is no address stays what it is.
    """
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if not isinstance(address, IPv6Address):
        return source
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    if address in _TRANSLATED:
        return str(IPv4Address(address.packed[-4:]))
    return str(IPv6Network((address, _CUSTOMER_BITS), strict=False)) if address.is_global else source
