"""The data folder: created if it does not exist, refused if others could change it, and locked for one Berth."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.launch.refusal import StartError
from berth.launch.trusted_files import UntrustedFileError, open_private, untrusted_reason

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


def prepare_folder(folder: Path, *, setting: str = SETTING) -> None:
    """Create `folder`, accessible to its owner only; raise StartError if it cannot be used or others can change it.

    The message begins with `setting`.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = untrusted_reason(folder.stat())
    except FileExistsError as error:
        raise StartError(f"{setting}: {folder} is not a folder") from error
    except OSError as error:
        raise _unusable(folder, error, setting) from error
    if reason:
        raise StartError(f"{setting}: the folder {folder} is not safe: {reason}")


@contextmanager
def opened_lock(folder: Path, *, setting: str = SETTING) -> Iterator[FolderLock]:
    """Prepare `folder` and open its lock, without taking it; raise StartError, which names `setting`, if that fails."""
    prepare_folder(folder, setting=setting)
    try:
        descriptor = open_private(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except UntrustedFileError as error:
        raise StartError(f"{setting}: cannot use {folder / LOCK}: {error.strerror}") from error
    except OSError as error:
        raise _unusable(folder, error, setting) from error
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


def _unusable(folder: Path, error: OSError, setting: str) -> StartError:
    return StartError(f"{setting}: cannot use the folder {folder}: {error.strerror}")


def in_use_error(folder: Path, lock: FolderLock, advice: str) -> StartError:
    """Return the error of a folder that another process has locked."""
    holder = lock.holder()
    process = f" (process {holder}); {advice}" if holder else ""
    return StartError(f"{SETTING}: {folder} is in use by another Berth{process}")
