"""Steers new connections to this process while it and the process that it replaces listen on the same port.

When a listening socket is closed, the kernel resets the connections that wait in its queue. So the predecessor must get
no new ones for a moment before it closes its socket. Linux chooses among sockets with SO_REUSEPORT by a program, which
any of them can set: here it names the sockets of this Berth, one for each of its workers. Works on Linux for IPv4
addresses, and for `[::]` if it accepts IPv4, too; elsewhere nothing is steered.
"""

import asyncio
import ctypes
import socket
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
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
_BPF_LOAD, _BPF_MODULO, _BPF_ADD, _BPF_RETURN, _BPF_RETURN_LOADED = 0x20, 0x94, 0x04, 0x06, 0x16
_RANDOM = 0xFFFFF000 + 56
"""Where a program loads a random number from."""
_LISTENING = "0A"
_ANYWHERE = {"0.0.0.0": "::"}  # noqa: S104 - compared, not bound
_Program = list[tuple[int, int]]
"""The instructions of a program, each with its constant."""


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


class _Sockets(NamedTuple):
    """How many sockets listen at an endpoint: first those of the predecessor, then those of this Berth.

    The kernel counts the sockets of a port from 0, in the order in which they began to listen. When one is closed, the
    last one takes its place. So there are as many members of our own at the end as the predecessor has sockets: ours
    stay where they are.
    """

    endpoint: _Endpoint
    predecessor: int
    own: int


@asynccontextmanager
async def steered_here(
    addresses: list[Address], *, ipv6_only: bool = False, workers: Mapping[Address, int] | None = None
) -> AsyncIterator[None]:
    """Steer new connections to the sockets of this Berth that listen on each address, if the kernel can do so.

    There is one at each address, unless `workers` says how many. At the end, wait until those of the predecessor are
    closed, for at most CLOSE_SECONDS.
    """
    own = {address: (workers or {}).get(address, 1) for address in addresses}
    with ExitStack() as stack:
        steered = [stack.enter_context(_steered(sockets)) for sockets in _shared(own, ipv6_only=ipv6_only)]
        yield
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while any(map(_listens_still, steered)):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(_POLL_SECONDS)


def _listens_still(sockets: _Sockets) -> bool:
    """Return whether any socket of the predecessor listens, besides ours and as many members."""
    return sockets.endpoint.listening() > sockets.own + sockets.predecessor


def _shared(own: Mapping[Address, int], *, ipv6_only: bool) -> list[_Sockets]:
    """Return the endpoints at which others listen as well: the predecessor, and before us."""
    try:
        found = [
            _Sockets(endpoint, endpoint.listening() - count, count)
            for address, count in own.items()
            for endpoint in _endpoints(address, ipv6_only=ipv6_only)
        ]
    except OSError:
        return []
    return [sockets for sockets in found if sockets.predecessor > 0]


@contextmanager
def _steered(sockets: _Sockets) -> Iterator[_Sockets]:
    with ExitStack() as stack:
        members = [
            stack.enter_context(socket.socket(sockets.endpoint.family, socket.SOCK_STREAM))
            for _ in range(sockets.predecessor)
        ]
        with suppress(OSError):
            for member in members:
                _join(member, sockets.endpoint)
            _set_program(members[-1], _SO_ATTACH_REUSEPORT_CBPF, _choice(sockets))
        yield sockets
        with suppress(OSError):
            members[-1].setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)


def _join(member: socket.socket, endpoint: _Endpoint) -> None:
    """Make `member` listen as one more socket: only such a one can set the program of all.

    Packets that reach it before and after that are dropped, so that the client sends them again, to another socket.
    """
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if endpoint.family == socket.AF_INET6:
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    _set_program(member, _SO_ATTACH_FILTER, [(_BPF_RETURN, 0)])
    member.bind((endpoint.host, endpoint.port))
    member.listen()


def _choice(sockets: _Sockets) -> _Program:
    """Return the program that chooses one of our sockets at random."""
    return [
        (_BPF_LOAD, _RANDOM),
        (_BPF_MODULO, sockets.own),
        (_BPF_ADD, sockets.predecessor),
        (_BPF_RETURN_LOADED, 0),
    ]


def _set_program(target: socket.socket, option: int, program: _Program) -> None:
    packed = b"".join(struct.pack("=HBBI", code, 0, 0, constant) for code, constant in program)
    instructions = ctypes.create_string_buffer(packed, len(packed))
    target.setsockopt(socket.SOL_SOCKET, option, struct.pack("HP", len(program), ctypes.addressof(instructions)))


def _endpoints(address: Address, *, ipv6_only: bool) -> list[_Endpoint]:
    """Return how a server may listen on an address: grpc uses IPv6 sockets, which accept IPv4, too, for IPv4."""
    if ":" in address.host:
        # Sockets of Envoy for IPv6 alone do not share a program with those of grpc, which always accept IPv4.
        accepts_ipv4 = address.accepts_ipv4(ipv6_only=ipv6_only)
        return [_Endpoint(socket.AF_INET6, address.host, address.port, "tcp6")] if accepts_ipv4 else []
    mapped = _ANYWHERE.get(address.host, f"::ffff:{address.host}")
    return [
        _Endpoint(socket.AF_INET, address.host, address.port, "tcp"),
        _Endpoint(socket.AF_INET6, mapped, address.port, "tcp6"),
    ]


def _hexadecimal(host: str) -> str:
    """Return an address as /proc/net writes it: words of 32 bits in the byte order of the machine."""
    packed = (IPv6Address(host) if ":" in host else ip_address(host)).packed
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", packed))
