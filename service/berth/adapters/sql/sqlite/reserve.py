"""A file that keeps some space on the disk of the database, so that deletes work when the disk is full.

A delete has to write before anything becomes free. When a write fails because the disk is full, the reserve is made
smaller, step by step, until the delete succeeds; afterwards it is made as large again as the disk allows.
"""

import os
from contextlib import suppress
from pathlib import Path

RESERVE_BYTES = 1_048_576
STEP_BYTES = 131_072
"""How much is released at a time: a delete of a container with a hundred files takes less."""
_OWNER_ONLY = 0o600


class Reserve:
    """The file at `path`. It does not exist before `restore`, and is used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self) -> None:
        """Make the file as large as possible, at most RESERVE_BYTES. An error of the disk leaves it as it is."""
        size = RESERVE_BYTES
        while size > self.size() and not self._allocate(size):
            size -= STEP_BYTES

    def release(self) -> bool:
        """Make the file smaller by a step; return whether there was anything to release."""
        size = self.size()
        try:
            os.truncate(self._path, max(0, size - STEP_BYTES))
        except OSError:
            return False
        return size > 0

    def size(self) -> int:
        """Return the size of the file in bytes, 0 if there is none."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    def _allocate(self, size: int) -> bool:
        """Extend the file to `size` bytes that the disk really has; return whether that succeeded."""
        before = self.size()
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, _OWNER_ONLY)
            try:
                _extend(descriptor, before, size)
            except OSError:
                os.ftruncate(descriptor, before)
            else:
                return True
            finally:
                os.close(descriptor)
        return False


def _extend(descriptor: int, start: int, end: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, end - start)
    else:  # macOS
        os.pwrite(descriptor, bytes(end - start), start)
        os.fsync(descriptor)
