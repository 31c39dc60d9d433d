"""Hosts: what a request names, and which names an allowlist permits."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import idna

from berth.core.hosted.domains import WILDCARD, plain_domain

MAX_PORT = 65_535
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::(?P<port>[0-9]{1,5}))?", re.ASCII)


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


def plain_domains(domains: Iterable[str]) -> list[str]:
    """Return the domains of a policy as Allowlist takes them; what is no domain matches nothing and is left out."""
    return [plain for domain in domains if (plain := plain_domain(_ascii(domain))) is not None]


def _ascii(domain: str) -> str:
    """Return a domain as DNS has it; nothing if it has none."""
    wildcard = WILDCARD if domain.startswith(WILDCARD) else ""
    try:
        return (
            domain if domain.isascii() else wildcard + idna.encode(domain.removeprefix(wildcard), uts46=True).decode()
        )
    except idna.IDNAError:
        return ""


class Allowlist:
    """Permits the domains of plain_domains: a name permits itself, `*.` and a name all names below that one."""

    def __init__(self, domains: Iterable[str]) -> None:
        known = set(domains)
        self._below = tuple(domain.removeprefix("*") for domain in known if domain.startswith(WILDCARD))
        self._names = known - {f"*{name}" for name in self._below}

    def permits(self, host: str) -> bool:
        """Return whether a host, as plain_host returns it, may be reached."""
        return host in self._names or (bool(self._below) and host.endswith(self._below))
