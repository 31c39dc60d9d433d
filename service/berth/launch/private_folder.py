"""The private folder of a running process: sockets and secrets that only this process and its Envoy use.

It is in the data folder, and removed at the end. Those of killed processes are removed at the next start.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "run-"
_OPEN_FILES = Path("/proc/self/fd")


@contextmanager
def private_folder(data_folder: Path) -> Iterator[Path]:
    """Create a folder in `data_folder`, accessible to this user only; yield its absolute path.

    A process locks its folder, so that other processes can tell that it is alive.
    """
    _remove_leftovers(data_folder)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=data_folder.absolute()))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name of the socket `path` that is short and plain, valid in this process while the context lasts.

    The kernel limits paths of sockets to 107 bytes, and grpc takes a percent sign for an escape.
    """
    if not _OPEN_FILES.exists():  # not on Linux
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_OPEN_FILES}/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def _remove_leftovers(data_folder: Path) -> None:
    """Remove the folders of processes that were killed."""
    for folder in data_folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_unlocked(folder)


def _remove_if_unlocked(folder: Path) -> None:
    """Remove a folder, unless the process that locked it is alive; then raise BlockingIOError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(descriptor)
