"""Find the source of a call: the caller's address and certificate, also if Envoy is in between."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote

from berth.rpc.tls.check import ClientCertificate
from berth.rpc.tls.forwarded import forwarded_chain
from berth.rpc.tls.names import names_in

CLIENT = "x-berth-client"
"""The header in which Berth's Envoy sends the address of its client."""
FORWARDED_FOR = "x-forwarded-for"
"""The header to which each proxy appends the address of its client."""
MAX_ADDRESS_LENGTH = 64
"""More than an address has, also with its zone. What is longer is none: it would be kept in the tables of sources."""
MAX_HEADERS = 256
"""How many headers are cached with what they say: Envoy sends the same one on every call of a connection."""
_HANDSHAKE = ("x509_pem_cert", "x509_pem_cert_chain")
"""How grpc names a client's certificate, and the others that the client sent."""
_UNKNOWN = "unknown"
_DOTS = 3  # of an address of IPv4
_OWN_ENVOY = "unix:"
"""How grpc names a peer on a Unix socket. Only the Envoy of `berth up` can reach that socket."""


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
    hops = [_without_port(hop.strip()) for hop in forwarded.get(FORWARDED_FOR, "").split(",")]
    count = trust.hops or int(is_local)
    hop = hops[-count] if 0 < count <= len(hops) else ""
    return hop if 0 < len(hop) <= MAX_ADDRESS_LENGTH else address


def client_certificate(
    peer: str, handshake: Mapping[str, Iterable[bytes]], forwarded: str | None, *, trust: Trust
) -> ClientCertificate | None:
    """Return the caller's certificate with its alternative names, DNS names and URIs; None if there is none.

    It comes from the TLS `handshake` of the call, as grpc reports it, or, if Envoy did the handshake,
    from the `forwarded` header. That is believed only from the Envoy that `berth up` runs and from a
    trusted sidecar.
    """
    is_own_envoy = peer.startswith(_OWN_ENVOY)
    if is_own_envoy or (trust.sidecar and _is_local(_address(unquote(peer)))):
        return _forwarded_certificate(forwarded, is_foreign=not is_own_envoy) if forwarded else None
    chain = b"".join(pem for name in _HANDSHAKE for pem in handshake.get(name, ()))
    return ClientCertificate(chain, names_in(chain)) if chain else None


@lru_cache(MAX_HEADERS)
def _forwarded_certificate(header: str, *, is_foreign: bool) -> ClientCertificate:
    chain = forwarded_chain(header)
    return ClientCertificate(chain, names_in(chain), is_foreign)


def _address(peer: str) -> str:
    """Return the address in `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` or `unix:path`."""
    family, _, rest = peer.partition(":")
    if family in {"ipv4", "ipv6"}:
        return rest.rpartition(":")[0].strip("[]")
    return family or _UNKNOWN


def _without_port(hop: str) -> str:
    """Return the address of a hop, to which some balancers append a port: each connection would be another source."""
    address, _, port = hop.rpartition(":") if not hop.endswith("]") else (hop, "", "0")
    is_address = address.startswith("[") or address.count(".") == _DOTS
    return address.strip("[]") if is_address and port.isdecimal() and _is_address(address.strip("[]")) else hop


def _is_local(address: str) -> bool:
    return address == "unix" or (_is_address(address) and ip_address(address.partition("%")[0]).is_loopback)


def _is_address(text: str) -> bool:
    if len(text) > MAX_ADDRESS_LENGTH:
        return False
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
