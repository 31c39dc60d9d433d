"""What counts as one caller where callers are limited by their addresses."""

from ipaddress import IPv6Address, IPv6Network, ip_address

_CUSTOMER_BITS = 64


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
    return str(IPv6Network((address, _CUSTOMER_BITS), strict=False)) if address.is_global else source
