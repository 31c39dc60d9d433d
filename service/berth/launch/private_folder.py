"""The private folder of a running process: sockets and secrets that only this process and its Envoy use.

It is in the data folder, and removed at the end. Those of killed processes are removed at the next start.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from berth.core.trees import remove_tree
from berth.launch.refusal import StartError

PREFIX, EXEC_PREFIX = "run-", "exec-"
"""How the names of the folders begin: that of the process and its Envoy, and that for the files of commands."""
MAX_PATH_BYTES = 103
"""The longest path of a socket on macOS."""
_OPEN_FILES = Path("/proc/self/fd")


@contextmanager
def private_folder(data_folder: Path, prefix: str = PREFIX) -> Iterator[Path]:
    """Create a folder in `data_folder`, accessible to this user only; yield its absolute path.

    A process locks its folder, so that other processes can tell that it is alive.
    """
    _remove_leftovers(data_folder, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=data_folder.absolute()))
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        remove_tree(folder)
        os.close(descriptor)


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name of the socket `path` that is short and plain, valid in this process while the context lasts.

    The kernel limits paths of sockets to 107 bytes, and grpc takes a percent sign for an escape.
    """
    if not _OPEN_FILES.exists():  # not on Linux
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise StartError(f"data_dir: the path of {path} is too long for a socket; set a folder with a shorter one")
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_OPEN_FILES}/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def _remove_leftovers(data_folder: Path, prefix: str) -> None:
    """Remove the folders of processes that were killed."""
    for folder in data_folder.glob(f"{prefix}*"):
        with suppress(OSError):
            _remove_if_unlocked(folder)


def _remove_if_unlocked(folder: Path) -> None:
    """Remove a folder, unless the process that locked it is alive; then raise BlockingIOError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(folder)
    finally:
        os.close(descriptor)
