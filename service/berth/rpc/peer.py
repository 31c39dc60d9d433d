"""Where a call comes from: the address and the certificate of who called, also where Envoy stands in between."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote

CLIENT = "x-berth-client"
"""Where Berth's Envoy puts the address of who called it."""
FORWARDED_FOR = "x-forwarded-for"
"""Where proxies put the address of who called them, behind what was there before."""
FORWARDED_CERTIFICATE = "x-forwarded-client-cert"
"""Where Envoy puts what it has seen of the caller's certificate."""
_UNKNOWN = "unknown"
_OWN_ENVOY = "unix:"
"""How grpc names a peer on the socket that nobody but the Envoy of `berth up` can reach."""
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+")+')
_ELEMENTS = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
"""All elements: no quote is left open, for which each would be searched to the end."""
_PAIR = re.compile(r'(?:^|;)\s*(\w+)=("(?:[^"\\]|\\.)*"|[^;]*)')


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is believed about where a call comes from.

    `hops` balancers stand in front of the service. With `sidecar`, whoever is on
    this machine is believed about certificates. With `envoy_on_socket` Berth's own
    Envoy calls over a Unix socket, so its header counts from nowhere else.
    """

    hops: int = 0
    sidecar: bool = False
    envoy_on_socket: bool = False


NO_TRUST = Trust()


def source_of(peer: str, forwarded: Mapping[str, str], *, trust: Trust) -> str:
    """Return the address of the caller, from the peer as grpc names it and from the headers of proxies.

    Berth's Envoy says in a header of its own where a request comes from. Of other
    proxies' headers the entry counts that the first of the trusted hops has
    written, and without any the last one of a proxy on this machine.
    """
    address = _address(unquote(peer))
    is_here = _is_here(address)
    is_envoy = peer.startswith(_OWN_ENVOY) if trust.envoy_on_socket else is_here
    if is_envoy and _is_address(forwarded.get(CLIENT, "")):
        return forwarded[CLIENT]
    hops = [hop.strip() for hop in forwarded.get(FORWARDED_FOR, "").split(",")]
    count = trust.hops or int(is_here)
    return hops[-count] or address if 0 < count <= len(hops) else address


def certificate_names(
    peer: str, handshake: Mapping[str, Iterable[bytes]], forwarded: str | None, *, trust: Trust
) -> list[str]:
    """Return the alternative names in the certificate of who called: DNS names and URIs.

    They come from the call's own `handshake`, as grpc tells it. Where Envoy has
    shaken hands they are `forwarded`; that is believed of the Envoy that `berth
    up` runs and of a trusted sidecar.
    """
    if peer.startswith(_OWN_ENVOY) or (trust.sidecar and _is_here(_address(unquote(peer)))):
        return _forwarded_names(forwarded or "")
    return [name.decode("utf-8", "replace") for name in handshake.get("x509_subject_alternative_name", ())]


def _forwarded_names(header: str) -> list[str]:
    """Return the names in the last element of the header, which is the nearest hop's."""
    elements = _ELEMENT.findall(header) if _ELEMENTS.fullmatch(header) else []
    pairs = _PAIR.findall(elements[-1]) if elements else []
    return [_unquoted(value) for name, value in pairs if name in ("URI", "DNS") and value]


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def _address(peer: str) -> str:
    """Return the address in `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` or `unix:path`."""
    family, _, rest = peer.partition(":")
    if family in {"ipv4", "ipv6"}:
        return rest.rpartition(":")[0].strip("[]")
    return family or _UNKNOWN


def _is_here(address: str) -> bool:
    return address == "unix" or (_is_address(address) and ip_address(address.partition("%")[0]).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
