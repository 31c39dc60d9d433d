"""Keeps IPv4 away from a port of grpc, which always accepts it on the wildcard address of IPv6 (`[::]`).

grpc has no option for that, and the kernel allows no change once a socket has its address. A filter on the listening
socket drops the packets instead, so that connections over IPv4 get no answer. Works on Linux.
"""

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_SO_ATTACH_FILTER = 26
_LOAD_PROTOCOL, _JUMP_IF_EQUAL, _RETURN = 0x28, 0x15, 0x06
_PROTOCOL_OF_PACKET = 0xFFFFF000
_IPV4 = 0x0800
_WHOLE_PACKET = 0xFFFFFFFF
_PROGRAM = (
    (_LOAD_PROTOCOL, 0, 0, _PROTOCOL_OF_PACKET),
    (_JUMP_IF_EQUAL, 0, 1, _IPV4),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, _WHOLE_PACKET),
)


def refuse_ipv4(port: int) -> None:
    """Drop IPv4 packets to the sockets of this process that listen on `port` of `[::]`.

    Raises OSError if that is impossible.
    """
    if sys.platform != "linux":
        raise OSError("listen.ipv6_only is supported on Linux only")
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in _PROGRAM))
    for listener in _listeners(port):
        with closing(listener):
            option = struct.pack("HP", len(_PROGRAM), ctypes.addressof(code))
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)


def _listeners(port: int) -> Iterator[socket.socket]:
    """Yield the sockets of this process that listen on a port of IPv6, under descriptors of their own."""
    for link in sorted(Path("/proc/self/fd").iterdir()):
        try:
            is_socket = str(link.readlink()).startswith("socket:")
            found = socket.socket(fileno=os.dup(int(link.name))) if is_socket else None
        except OSError:  # closed meanwhile
            continue
        if found is None:
            continue
        if _listens(found, port):
            yield found
        else:
            found.close()


def _listens(found: socket.socket, port: int) -> bool:
    if found.family != socket.AF_INET6 or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    return bool(found.getsockname()[1] == port)
