"""Reaches the network of a sandbox from outside, with the rights that its owner has there."""

import fcntl
import os
import time

from berth.adapters.sandbox.process import linux

_NS_GET_USERNS = 0xB701
"""The request for the user namespace that owns a namespace."""
_SETTING_UP_SECONDS = 2.0
_PAUSE_SECONDS = 0.002


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
