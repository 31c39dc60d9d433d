"""The limit of open files and connections of this process: raised, shared out, and watched."""

import asyncio
import os
import resource
from contextlib import suppress
from pathlib import Path

from structlog.typing import FilteringBoundLogger

CHECK_SECONDS = 1.0
MAX_RESERVE = 256
"""How many descriptors are kept free of connections from callers, for files and for connections to providers."""
_FOLDER = Path("/dev/fd")
_ENOUGH = 0.9
_UNLIMITED = 1_000_000_000


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, also for child processes; return what the limit is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return open_files_limit()


def open_files_limit() -> int:
    """Return the limit of open files, a large number if there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft


def max_connections() -> int:
    """Return how many connections from callers a process with this limit may have."""
    limit = open_files_limit()
    return max(1, limit - min(MAX_RESERVE, limit // 2))


def shared_connections(inner: int) -> tuple[int, int]:
    """Return how many connections from callers there may be, and how many between Envoy and the service.

    The latter are at most `inner`, and at most half of all.
    """
    most = max_connections()
    between = min(inner, most // 2)
    return most - between, between


async def watch_open_files(log: FilteringBoundLogger) -> None:
    """Log when only the reserve is left, and when there is room again, until cancelled."""
    is_scarce = False
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        count, most = count_open_files(), max_connections()
        if count >= most and not is_scarce:
            log.warning("files.scarce", open=count, limit=open_files_limit())
        elif is_scarce and count < most * _ENOUGH:
            log.info("files.enough", open=count, limit=open_files_limit())
        is_scarce = count >= most * (_ENOUGH if is_scarce else 1)


def count_open_files() -> int:
    """Return how many files are open; the limit if there is no descriptor for counting them."""
    try:
        with os.scandir(_FOLDER) as entries:  # with thousands of connections, paths would take three times as long
            return sum(1 for _ in entries)
    except OSError:
        return open_files_limit()
