"""Steers new connections to this process while it and the process that it replaces listen on the same port.

When a listening socket is closed, the kernel resets the connections that wait in its queue. So the predecessor must get
no new ones for a moment before it closes its socket. Linux chooses among sockets with SO_REUSEPORT by a program, which
any of them can set: here it names the socket of this process. Works for IPv4 on Linux; elsewhere nothing is steered.
"""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from berth.launch.address import Address

SETTLE_SECONDS = 0.5
"""How long connections that are being set up may take to be accepted by the predecessor."""
CLOSE_SECONDS = 5.0
_POLL_SECONDS = 0.01
_SO_ATTACH_REUSEPORT_CBPF = 51
_SO_DETACH_REUSEPORT_BPF = 68
_SO_ATTACH_FILTER = 26
_BPF_RETURN = 0x06
_LISTENING = "0A"
_ANYWHERE = {"0.0.0.0": "::"}  # noqa: S104 - compared, not bound
_PREDECESSOR_AND_THIS = 2
_THIS_AND_MEMBER = 2
_INDEX_OF_THIS = 1
"""The kernel counts the sockets of a port from 0, in the order in which they began to listen."""


class _Endpoint(NamedTuple):
    """A local address as the kernel knows it: `table` in /proc/net lists its sockets."""

    family: int
    host: str
    port: int
    table: str

    def listening(self) -> int:
        """Return the number of sockets that listen here."""
        row = f"{_hexadecimal(self.host)}:{self.port:04X}"
        lines = (line.split() for line in Path("/proc/net", self.table).read_text(encoding="ascii").splitlines())
        return sum(fields[1] == row and fields[3] == _LISTENING for fields in lines)


@asynccontextmanager
async def steered_here(addresses: list[Address]) -> AsyncIterator[None]:
    """Steer new connections to the second of the two sockets that listen on each address, if the kernel can do so.

    At the end, wait until the first one is closed, for at most CLOSE_SECONDS.
    """
    with ExitStack() as stack:
        steered = [stack.enter_context(_steered(endpoint)) for endpoint in _shared(addresses)]
        yield
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(endpoint.listening() > _THIS_AND_MEMBER for endpoint in steered):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(_POLL_SECONDS)


def _shared(addresses: list[Address]) -> list[_Endpoint]:
    """Return the endpoints at which two sockets listen, the first of which is the predecessor's."""
    endpoints = [endpoint for address in addresses for endpoint in _endpoints(address)]
    try:
        return [endpoint for endpoint in endpoints if endpoint.listening() == _PREDECESSOR_AND_THIS]
    except OSError:
        return []


@contextmanager
def _steered(endpoint: _Endpoint) -> Iterator[_Endpoint]:
    with socket.socket(endpoint.family, socket.SOCK_STREAM) as member:
        with suppress(OSError):
            _steer(member, endpoint)
        yield endpoint
        with suppress(OSError):
            member.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)


def _steer(member: socket.socket, endpoint: _Endpoint) -> None:
    """Make `member` listen as a third socket, and set the program with it, which only such a socket can do.

    Packets that reach it before and after that are dropped, so that the client sends them again, to another socket.
    """
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if endpoint.family == socket.AF_INET6:
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    _set_program(member, _SO_ATTACH_FILTER, result=0)
    member.bind((endpoint.host, endpoint.port))
    member.listen()
    _set_program(member, _SO_ATTACH_REUSEPORT_CBPF, result=_INDEX_OF_THIS)


def _set_program(target: socket.socket, option: int, *, result: int) -> None:
    """Set a program of one instruction, which returns `result`."""
    instruction = ctypes.create_string_buffer(struct.pack("=HBBI", _BPF_RETURN, 0, 0, result))
    target.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", 1, ctypes.addressof(instruction)))


def _endpoints(address: Address) -> list[_Endpoint]:
    """Return how a server may listen on an address: grpc uses IPv6 sockets, which accept IPv4, too, for IPv4."""
    if ":" in address.host:
        return []
    mapped = _ANYWHERE.get(address.host, f"::ffff:{address.host}")
    return [
        _Endpoint(socket.AF_INET, address.host, address.port, "tcp"),
        _Endpoint(socket.AF_INET6, mapped, address.port, "tcp6"),
    ]


def _hexadecimal(host: str) -> str:
    """Return an address as /proc/net writes it: words of 32 bits in the byte order of the machine."""
    packed = (IPv6Address(host) if ":" in host else ip_address(host)).packed
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", packed))
