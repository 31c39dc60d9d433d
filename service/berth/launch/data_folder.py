"""The data folder: created if it does not exist, and locked, so that only one Berth uses it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.launch.refusal import StartError

SETTING = "data_dir"
LOCK = "lock"


class FolderLock:
    """The lock of a data folder, which is released when the last process that shares it closes it or ends."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def try_to_take(self) -> bool:
        """Take the lock, and write the id of this process into it; return whether it was free."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.sign()
        return True

    def sign(self) -> None:
        """Write the id of this process, which has the lock, into its file."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode("ascii"), 0)

    def holder(self) -> str:
        """Return the id of the process that has the lock, empty if it is unknown."""
        return os.pread(self.descriptor, 20, 0).decode("ascii", "replace")


@contextmanager
def opened_lock(folder: Path) -> Iterator[FolderLock]:
    """Create `folder`, accessible to its owner only, and open its lock, without taking it; StartError if that fails."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileExistsError as error:
        raise StartError(f"{SETTING}: {folder} is not a folder") from error
    except OSError as error:
        raise StartError(f"{SETTING}: cannot use the folder {folder}: {error.strerror}") from error
    # Child processes do not inherit the descriptor.
    lock = FolderLock(descriptor)
    try:
        yield lock
    finally:
        os.close(lock.descriptor)


@contextmanager
def claimed(folder: Path) -> Iterator[FolderLock]:
    """Create `folder`, accessible to its owner only, and lock it while the context lasts.

    Raises StartError if it cannot be used or another process has locked it.
    """
    with opened_lock(folder) as lock:
        if not lock.try_to_take():
            raise in_use_error(folder, lock, "stop that one or set another folder")
        yield lock


def in_use_error(folder: Path, lock: FolderLock, advice: str) -> StartError:
    """Return the error of a folder that another process has locked."""
    holder = lock.holder()
    process = f" (process {holder}); {advice}" if holder else ""
    return StartError(f"{SETTING}: {folder} is in use by another Berth{process}")
