"""Hosts: what a request names, and which names an allowlist permits."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import idna

MAX_NAME_LENGTH = 253
MAX_PORT = 65_535
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.ASCII)
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
"""A last label that makes resolvers read the whole as an address, such as 127.1, 0177.0.0.1 or 0x7f000001."""
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_WILDCARD = "*."


class Target(NamedTuple):
    """A host, as it was spelled except for its case, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the target as refusals name it."""
        return f"{self.host}:{self.port}"


def read_authority(text: str, *, default_port: int | None = None) -> Target | None:
    """Return the target of `host:port`; None if it is none, has a user, or has no port and there is no default."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else default_port
    return Target(found["host"].lower(), port) if port and port <= MAX_PORT else None


def plain_host(text: str) -> str | None:
    """Return a host as it is compared: a name in lower case without a dot at its end, or an address.

    None if it is neither, or a name that resolvers read as an address.
    """
    address = read_address(text.removeprefix("[").removesuffix("]"))
    if address is not None:
        return str(address)
    name = text.lower().removesuffix(".")
    is_name = len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name)
    return name if is_name and not _NUMBER.fullmatch(name.rpartition(".")[2]) else None


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a text is, None if it is none or names an interface."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def plain_domains(domains: Iterable[str]) -> list[str]:
    """Return the domains of a policy as Allowlist takes them; what is no domain matches nothing and is left out."""
    return [plain for domain in domains if (plain := _plain_domain(domain)) is not None]


def _plain_domain(domain: str) -> str | None:
    wildcard = _WILDCARD if domain.startswith(_WILDCARD) else ""
    name = domain.removeprefix(wildcard)
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            return None
    plain = plain_host(name)
    if plain is None or (wildcard and read_address(plain)):
        return None
    return wildcard + plain


class Allowlist:
    """Permits the domains of plain_domains: a name permits itself, `*.` and a name all names below that one."""

    def __init__(self, domains: Iterable[str]) -> None:
        known = set(domains)
        self._below = tuple(domain.removeprefix("*") for domain in known if domain.startswith(_WILDCARD))
        self._names = known - {f"*{name}" for name in self._below}

    def permits(self, host: str) -> bool:
        """Return whether a host, as plain_host returns it, may be reached."""
        return host in self._names or (bool(self._below) and host.endswith(self._below))
