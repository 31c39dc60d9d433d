"""The limits of each process of a sandbox, by the names that the kernel, Python and OCI have for them."""

import resource
from collections.abc import Mapping
from typing import Any

_OPEN_FILES = 1024
OF_THE_HOST = {"RLIMIT_CORE": (1, 1), "RLIMIT_NICE": (0, 0), "RLIMIT_RTPRIO": (0, 0)}
"""What also holds for the kernel of a guest: no turns before others, which the user of Berth may have, and no cores.

With RLIMIT_CORE 0, the kernel writes no file with the memory of a process that crashes, but starts the program of the
host that `core_pattern` may name, as root, with that memory as its input. With 1, it does neither.
"""
_FILE_SLACK = 1 << 16
"""How far a single file may grow beyond the limit of the whole folder, so that the watch sees that it does."""


def rlimits(limits: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Return the soft and the hard limits for a command."""
    fixed = {
        "RLIMIT_MEMLOCK": 1 << 16,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_NOFILE": _OPEN_FILES,
        "RLIMIT_FSIZE": limits["disk_bytes"] + _FILE_SLACK,
        "RLIMIT_AS": 4 * limits["memory_bytes"] + (4 << 30),
    }
    both = {name: (value, value) for name, value in fixed.items()}
    return {**both, **OF_THE_HOST, "RLIMIT_CPU": (limits["cpu_seconds"], limits["cpu_seconds"] + 1)}


def limit(found: Mapping[str, tuple[int, int]]) -> None:
    """Set limits for this process and what it starts, as far as it may raise them."""
    for name, values in found.items():
        kind = getattr(resource, name)
        resource.setrlimit(kind, _bounded(values, resource.getrlimit(kind)[1]))


def lower(process: int, kind: int, maximum: int) -> None:
    """Set a limit of another process, unless it is already lower. ProcessLookupError if it has ended."""
    resource.prlimit(process, kind, _bounded((maximum, maximum), resource.prlimit(process, kind)[1]))


def _bounded(values: tuple[int, int], highest: int) -> tuple[int, int]:
    if highest == resource.RLIM_INFINITY:
        return values
    return min(values[0], highest), min(values[1], highest)
