"""The address of a server, the authorities that it is verified with, and the key that it is sent."""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

MAX_PORT = 65535
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", re.ASCII)


class Endpoint(NamedTuple):
    """A host name or an IP address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Parse `HOST:PORT` or `[IP]:PORT`; raise ValueError for anything else."""
        match = _ENDPOINT.fullmatch(text)
        if match is None or not 0 < int(match[3]) <= MAX_PORT:
            raise ValueError(text)
        return cls(f"{ip_address(match[1])}" if match[1] else match[2], int(match[3]))

    def __str__(self) -> str:
        """Return `HOST:PORT`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the address is on this machine, so that traffic to it never leaves the machine."""
        with suppress(ValueError):
            return ip_address(self.host).is_loopback
        return self.host.lower() == "localhost"


@dataclass(frozen=True)
class Server:
    """A server: its address, the authorities (PEM) that its certificate is verified with, and the key to send.

    Without `roots` the connection is not encrypted; without `key` no key is sent.
    """

    endpoint: Endpoint
    roots: bytes | None = None
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for an unencrypted connection to another machine."""
        if self.roots is None and not self.endpoint.is_loopback:
            raise ValueError("a connection to another machine must be encrypted")
