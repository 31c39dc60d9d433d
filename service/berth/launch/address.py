"""Addresses to listen on."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import NamedTuple

from berth.launch.refusal import StartError

MAX_PORT = 65535
_LOCALHOST = "127.0.0.1"
_ANYWHERE = {"0.0.0.0": _LOCALHOST, "::": "::1"}  # noqa: S104 - replaced in addresses to call, not bound


class Address(NamedTuple):
    """An IP address and a port; port 0 lets the system pick one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `IP:PORT`, `[IP]:PORT` or `localhost:PORT`; raise ValueError for anything else."""
        host, _, port = text.rpartition(":")
        if not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
            raise ValueError(text)
        if host.startswith("[") and host.endswith("]"):
            return cls(f"{ip_address(host[1:-1])}", int(port))
        if ":" in host:
            raise ValueError(text)
        return cls(_LOCALHOST if host == "localhost" else f"{ip_address(host)}", int(port))

    def __str__(self) -> str:
        """Return `IP:PORT`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        return ip_address(self.host).is_loopback

    def to_call(self) -> "Address":
        """Return the address for a caller on this machine: loopback in place of the wildcard address."""
        return self._replace(host=_ANYWHERE.get(self.host, self.host))

    def accepts_ipv4(self, *, ipv6_only: bool) -> bool:
        """Return whether this is the wildcard address of IPv6, and IPv4 is to be accepted there, too."""
        return self.host == "::" and not ipv6_only

    def require_free(self, setting: str, *, ipv6_only: bool = False) -> None:
        """Raise StartError, naming `setting`, if the address cannot be listened on."""
        try:
            with self._socket(ipv6_only=ipv6_only) as probe:
                # As servers do: connections in TIME_WAIT do not block the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(self)
        except OSError as error:
            raise self._refusal(setting, error) from error

    @contextmanager
    def reserved(self, setting: str, *, ipv6_only: bool = False) -> Iterator["Address"]:
        """Keep the port, which a server with SO_REUSEPORT listens on now and then; yield the address with its port.

        The port is bound but not listened on: no connection ends here. Raises StartError, naming `setting`, if the port
        cannot be bound.
        """
        with self._socket(ipv6_only=ipv6_only) as holder:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                _bind_for_good(holder, self)
            except OSError as error:
                raise self._refusal(setting, error) from error
            yield self._replace(port=holder.getsockname()[1])

    def _socket(self, *, ipv6_only: bool) -> socket.socket:
        if ":" not in self.host:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        created = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        # Whatever the system's default is (net.ipv6.bindv6only).
        created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not self.accepts_ipv4(ipv6_only=ipv6_only))
        return created

    def _refusal(self, setting: str, error: OSError) -> StartError:
        advice = "; set another port, or end the program that uses this one" if error.errno == errno.EADDRINUSE else ""
        return StartError(f"{setting}: cannot listen on {self}: {error.strerror}{advice}")


def _bind_for_good(holder: socket.socket, address: Address) -> None:
    """Bind `holder` so that others cannot take the port while it is not listened on."""
    try:
        holder.bind(address)
    except OSError:
        # Connections in TIME_WAIT block the port without this; with it, others that set it can bind the port, too.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
