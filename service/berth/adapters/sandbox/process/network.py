"""Reaches the network of a sandbox from outside, with the rights that its owner has there, and bounds its buffers."""

import fcntl
import os
import time
from contextlib import suppress

from berth.adapters.sandbox.process import linux

_NS_GET_USERNS = 0xB701
"""The request for the user namespace that owns a namespace."""
_SETTING_UP_SECONDS = 2.0
_PAUSE_SECONDS = 0.002
_RECEIVED = "/proc/sys/net/ipv4/tcp_rmem"
_RECEIVED_BYTES = b"4096 131072 212992"
"""How much a TCP connection may keep that was not read: the least, the first and the most; else 6 MiB or more.

What is sent byte by byte takes 30 times as much of it as the lists of connections say. All of the host share one amount
of memory for TCP, and who exceeds it cannot receive any more.
"""


def opened_network(init: int) -> int:
    """Open the network of the sandbox's first process, which the kernel refuses while that changes its rights."""
    deadline = time.monotonic() + _SETTING_UP_SECONDS
    while True:
        try:
            return os.open(f"/proc/{init}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def join_network(network: int) -> None:
    """Enter an open network, and close it."""
    # That of the process need not be the one that owns the network: bwrap makes another one inside of it later.
    owner = fcntl.ioctl(network, _NS_GET_USERNS)
    for descriptor in (owner, network):
        linux.join_namespace(descriptor)
        os.close(descriptor)


def bound_buffers(init: int) -> None:
    """Bound what connections in the network of a sandbox keep; where /proc/sys is read-only, they keep more."""
    with suppress(OSError):
        network = opened_network(init)
        parent = os.getpid()
        if (child := os.fork()) == 0:
            try:
                linux.die_with_parent(parent)
                join_network(network)
                with open(_RECEIVED, "wb", buffering=0) as file:
                    file.write(_RECEIVED_BYTES)
            finally:
                os._exit(0)
        os.close(network)
        os.waitpid(child, 0)
