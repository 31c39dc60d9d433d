"""The folder under ObjectBlobs: what obstore does not do for files.

It neither waits for the disk nor clears away what a killed process leaves. So
bytes are written into `.incoming` first, and get their key only when they are
on the disk: what is there under a key is whole, whatever happens.
"""

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

_INCOMING = ".incoming"
_OWNER_ONLY = 0o700


class BlobFolder:
    """A folder of blobs, made if it is not there. OSError if it cannot be used.

    Its lock is shared by the processes that use it; the system lets go of it
    when a process ends, however it ends. Who finds it free clears `.incoming`.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        self.root = root.resolve()
        sync(self.root.parent)
        self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        if _taken_alone(self._lock):
            shutil.rmtree(self.root / _INCOMING, ignore_errors=True)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        (self.root / _INCOMING).mkdir(exist_ok=True)  # which also shows at once that the folder can be written to

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._lock)

    def staging_key(self, key: str) -> str:
        """Return the key under which the bytes of `key` are written first."""
        return f"{_INCOMING}/{key.replace('/', '.')}"

    def is_staging(self, key: str) -> bool:
        """Tell whether a key is one under which bytes are written first."""
        return key.startswith(f"{_INCOMING}/")

    def publish(self, staging_key: str, key: str) -> None:
        """Give written bytes their key, durably, or remove them: first the bytes, then the name and its folders."""
        staged, target = self.root / staging_key, self.root / key
        try:
            sync(staged)
            target.parent.mkdir(exist_ok=True)
            staged.replace(target)
            sync(target.parent)
            sync(self.root)
        except OSError:
            for remains in (staged, target):
                with suppress(OSError):
                    remains.unlink()
            raise


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken_alone(lock: int) -> bool:
    """Take the lock for this process alone, unless another one has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
