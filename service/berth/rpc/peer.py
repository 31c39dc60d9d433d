"""Find the source of a call: the caller's address and certificate, also if Envoy is in between."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import unquote, unquote_to_bytes

from berth.rpc.certificates import is_uri, names_in

CLIENT = "x-berth-client"
"""The header in which Berth's Envoy sends the address of its client."""
FORWARDED_FOR = "x-forwarded-for"
"""The header to which each proxy appends the address of its client."""
FORWARDED_CERTIFICATE = "x-forwarded-client-cert"
"""The header in which Envoy describes the client's certificate."""
MAX_FORWARDED_LENGTH = 32_768
"""Room for the certificate, in the header of the nearest hop, and for the elements of others."""
_UNKNOWN = "unknown"
_OWN_ENVOY = "unix:"
"""How grpc names a peer on a Unix socket. Only the Envoy of `berth up` can reach that socket."""
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+")+')
_ELEMENTS = re.compile(r'(?:[^"]|"(?:[^"\\]|\\.)*+")*+')
"""The whole header, if no quote in it is left open.

With an open quote, `_ELEMENT` would search to the end of the header again and again.
"""
_PAIR = re.compile(r'(?:^|;)\s*(\w+)=("(?:[^"\\]|\\.)*"|[^;]*)')


@dataclass(frozen=True, slots=True)
class Trust:
    """Which peers are believed about the source of a call.

    `hops` is the number of trusted balancers in front of the service. With `sidecar`, peers on this
    machine are believed about certificates. With `envoy_on_socket`, Berth's own Envoy calls over a
    Unix socket, so its header is believed from no other peer.
    """

    hops: int = 0
    sidecar: bool = False
    envoy_on_socket: bool = False


NO_TRUST = Trust()


def source_of(peer: str, forwarded: Mapping[str, str], *, trust: Trust) -> str:
    """Return the address of the caller, from the peer as grpc names it and from the headers of proxies.

    Berth's Envoy sends the address in its own header. In the header of other proxies, the entry of
    the first trusted hop counts; without trusted hops, it is the last entry if the proxy is on this
    machine.
    """
    address = _address(unquote(peer))
    is_local = _is_local(address)
    is_envoy = peer.startswith(_OWN_ENVOY) if trust.envoy_on_socket else is_local
    if is_envoy and _is_address(forwarded.get(CLIENT, "")):
        return forwarded[CLIENT]
    hops = [hop.strip() for hop in forwarded.get(FORWARDED_FOR, "").split(",")]
    count = trust.hops or int(is_local)
    return hops[-count] or address if 0 < count <= len(hops) else address


def certificate_names(
    peer: str, handshake: Mapping[str, Iterable[bytes]], forwarded: str | None, *, trust: Trust
) -> Sequence[str]:
    """Return the alternative names in the caller's certificate: DNS names and URIs.

    They are read from the certificate itself: from the TLS `handshake` of the call, as grpc reports
    it, or, if Envoy did the handshake, from the `forwarded` header. That is believed only from the
    Envoy that `berth up` runs and from a trusted sidecar.
    """
    if peer.startswith(_OWN_ENVOY) or (trust.sidecar and _is_local(_address(unquote(peer)))):
        return _forwarded_names(forwarded or "")
    return names_in(next(iter(handshake.get("x509_pem_cert", ())), b""))


def _forwarded_names(header: str) -> Sequence[str]:
    """Return the names in the last element of the header, which the nearest hop wrote.

    Envoy writes names unescaped, so those of a malicious certificate can look like several. Without
    the certificate itself only a single URI is taken, as the certificates of meshes have it.
    """
    is_readable = len(header) <= MAX_FORWARDED_LENGTH and _ELEMENTS.fullmatch(header)
    elements = _ELEMENT.findall(header) if is_readable else []
    pairs = _PAIR.findall(elements[-1]) if elements else []
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    if "Cert" in values:
        (certificate,) = values["Cert"] if len(values["Cert"]) == 1 else ("",)
        return names_in(unquote_to_bytes(certificate.strip('"')))
    uris = values.get("URI", [])
    return uris if len(uris) == 1 and is_uri(uris[0]) else ()


def _address(peer: str) -> str:
    """Return the address in `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` or `unix:path`."""
    family, _, rest = peer.partition(":")
    if family in {"ipv4", "ipv6"}:
        return rest.rpartition(":")[0].strip("[]")
    return family or _UNKNOWN


def _is_local(address: str) -> bool:
    return address == "unix" or (_is_address(address) and ip_address(address.partition("%")[0]).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
