"""Where a server is, what it is trusted by, and what it is told of the caller."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

MAX_PORT = 65535
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", re.ASCII)


class Endpoint(NamedTuple):
    """A name or an IP address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read `HOST:PORT` or `[IP]:PORT`. ValueError for anything else."""
        match = _ENDPOINT.fullmatch(text)
        if match is None or not 0 < int(match[3]) <= MAX_PORT:
            raise ValueError(text)
        return cls(f"{ip_address(match[1])}" if match[1] else match[2], int(match[3]))

    def __str__(self) -> str:
        """Return `HOST:PORT`, the host in brackets if it has colons."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, and what is sent there never leaves it."""
        with suppress(ValueError):
            return ip_address(self.host).is_loopback
        return self.host.lower() == "localhost"


@dataclass(frozen=True)
class Server:
    """A server: where it is, the authorities (PEM) that its certificate is checked with, and the key to show it.

    Without `roots` nothing is encrypted; without a `key` none is sent.
    """

    endpoint: Endpoint
    roots: bytes | None = None
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Make sure that nothing can be sent to another machine as it is. ValueError if it could."""
        if self.roots is None and not self.endpoint.is_loopback:
            raise ValueError("what goes to another machine is encrypted")
