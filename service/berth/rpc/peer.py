"""Where a call comes from: the address of who called, also where Envoy stands in between."""

from ipaddress import ip_address
from urllib.parse import unquote

FORWARDED_FOR = "x-forwarded-for"
"""Where Envoy puts the address of who called it, behind what was there before."""
_UNKNOWN = "unknown"


def source_of(peer: str, forwarded_for: str | None) -> str:
    """Return the address of the caller, of the peer as grpc names it and of the header.

    The header is believed where the peer is on this machine, as Envoy is: only
    its last address, which is the one that Envoy itself has seen.
    """
    address = _address(unquote(peer))
    if forwarded_for and _is_here(address):
        return forwarded_for.rpartition(",")[2].strip() or address
    return address


def _address(peer: str) -> str:
    """Return the address in `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` or `unix:path`."""
    family, _, rest = peer.partition(":")
    if family in {"ipv4", "ipv6"}:
        return rest.rpartition(":")[0].strip("[]")
    return family or _UNKNOWN


def _is_here(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return address == "unix"
