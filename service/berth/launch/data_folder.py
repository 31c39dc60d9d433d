"""The data folder: created if it does not exist, and locked, so that only one Berth uses it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.launch.refusal import StartError

SETTING = "data_dir"
LOCK = "lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Create `folder`, accessible to its owner only, and lock it while the context lasts.

    Raises StartError if it cannot be used or another process has locked it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileExistsError as error:
        raise StartError(f"{SETTING}: {folder} is not a folder") from error
    except OSError as error:
        raise StartError(f"{SETTING}: cannot use the folder {folder}: {error.strerror}") from error
    # The kernel releases the lock when the process ends; child processes do not inherit it.
    with os.fdopen(descriptor, "r+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartError(f"{SETTING}: {folder} is in use by another Berth{_holder(lock.read())}") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _holder(process: str) -> str:
    return f" (process {process}); stop that one or set another folder" if process else ""
