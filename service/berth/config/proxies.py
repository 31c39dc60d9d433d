"""The proxies that the environment names for requests to providers, as curl and requests read them.

HTTP_PROXY, HTTPS_PROXY and ALL_PROXY are URLs of proxies for providers with http:// and https:// URLs; NO_PROXY is a
list of hosts that are reached without one. Names in lower case come first. An empty variable counts as not set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

_EVERY_HOST = "*"
_LOCALHOST = "localhost"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class EnvironmentProxy:
    """The URL of a proxy, which may contain a password, and the variable that names it."""

    url: str = field(repr=False)
    variable: str

    @property
    def is_supported(self) -> bool:
        """Whether it is a proxy that speaks HTTP."""
        try:
            parts = urlsplit(self.url)
            return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False


def proxy_for(url: str, environ: Mapping[str, str]) -> EnvironmentProxy | None:
    """Return the proxy for requests to `url`; None if there is none, for this machine and for hosts in NO_PROXY."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    if _is_loopback(host) or any(_matches(host, port, entry) for entry in _without_proxy(environ)):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if value := environ.get(variable, "").strip():
                return EnvironmentProxy(value if "://" in value else f"http://{value}", variable)
    return None


def _without_proxy(environ: Mapping[str, str]) -> list[str]:
    text = environ.get("no_proxy") or environ.get("NO_PROXY", "")
    return text.lower().replace(",", " ").split()


def _is_loopback(host: str) -> bool:
    address = _ip(host)
    return address.is_loopback if address else host == _LOCALHOST or host.endswith(f".{_LOCALHOST}")


def _matches(host: str, port: int | None, entry: str) -> bool:
    """Return whether an entry of NO_PROXY means a host: itself, a domain above it, or a network that it is in.

    An entry may end in a port.
    """
    if entry == _EVERY_HOST:
        return True
    address = _ip(host)
    if address is not None and _is_in(address, entry):
        return True
    name, _, number = entry.rpartition(":")
    if number.isdigit() and name:
        return int(number) == port and _matches(host, port, name)
    domain = entry.removeprefix(_EVERY_HOST).strip(".")
    return address is None and bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _is_in(address: IPv4Address | IPv6Address, entry: str) -> bool:
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
