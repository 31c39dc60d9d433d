"""Watches the connections to the gRPC port: an address with too many loses those that were silent for the longest time.

grpc limits only how many connections there are in all. So they are found among the descriptors of this process, and
shut down, after which grpc closes them like any other that its client has ended.
"""

import asyncio
import os
import socket
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.core.auth.sources import network_of
from berth.launch.process.open_files import count_open_files

CHECK_SECONDS = 1.0
CAN_WATCH = sys.platform == "linux"
_FOLDER = Path("/proc/self/fd")
_SILENT_MILLISECONDS = struct.Struct("52xI")
"""Where tcp(7)'s tcp_info says how long ago the last bytes arrived; at first, how long ago the connection was made."""


class _Connection(NamedTuple):
    silent_milliseconds: int
    descriptor: int
    peer: tuple[Any, ...]


async def watch_connections(port: int, *, most: int, spares_own: bool, log: FilteringBoundLogger) -> None:
    """Let each address have at most `most` connections to `port`, until cancelled.

    With `spares_own`, this machine may have more: what connects from there is a proxy for many clients.
    """
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        if count_open_files() <= most:
            continue
        with suppress(OSError):  # at the limit of open files there may be none left for looking
            for address, closed in (await asyncio.to_thread(close_excess, port, most, spares_own=spares_own)).items():
                log.warning("connections.closed", address=address, closed=closed, limit=most)


def close_excess(port: int, most: int, *, spares_own: bool = False) -> dict[str, int]:
    """Close what addresses have above `most` connections to `port`; return how many of each address."""
    connections: dict[str, list[_Connection]] = defaultdict(list)
    for connection in _connections(port):
        if not (spares_own and _is_own(connection.peer)):
            connections[network_of(connection.peer[0])].append(connection)
    return {
        address: sum(map(_close, sorted(held, reverse=True)[: len(held) - most]))
        for address, held in connections.items()
        if len(held) > most
    }


def _connections(port: int) -> Iterator[_Connection]:
    """Yield the connections that were made to `port` of this process."""
    with os.scandir(_FOLDER) as entries:
        descriptors = [int(entry.name) for entry in entries]
    for descriptor in descriptors:
        with suppress(OSError), _opened_again(descriptor) as connection:
            name = connection.getsockname()
            if isinstance(name, tuple) and name[1] == port:
                facts = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SILENT_MILLISECONDS.size)
                (silent,) = _SILENT_MILLISECONDS.unpack(facts)
                yield _Connection(silent, descriptor, connection.getpeername())


def _close(connection: _Connection) -> bool:
    """Shut a connection down, unless its descriptor has become another one."""
    with suppress(OSError), _opened_again(connection.descriptor) as found:
        if found.getpeername() == connection.peer:
            found.shutdown(socket.SHUT_RDWR)
            return True
    return False


def _opened_again(descriptor: int) -> socket.socket:
    """Return the same connection with a descriptor of its own, which stays what it is.

    The family only has to be the one with the longest addresses.
    """
    return socket.fromfd(descriptor, socket.AF_INET6, socket.SOCK_STREAM)


def _is_own(peer: tuple[Any, ...]) -> bool:
    """Return whether a peer is on this machine."""
    address = ip_address(peer[0].partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
