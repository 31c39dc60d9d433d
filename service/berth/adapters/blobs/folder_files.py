"""The files under FileBlobs. Everything here may wait for the disk, and raise OSError.

Bytes are written into `.incoming` first, and get their key only when they are
on the disk: what is there under a key is whole, whatever happens.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

_INCOMING = ".incoming"
_FILE_SYSTEMS_OWN = "lost+found"
_OWNER_ONLY = 0o700
_BEGIN_BYTES = 8 * 1024 * 1024


class BlobFolder:
    """A folder of blobs, made if it is not there.

    Its lock is shared by the processes that use it; the system lets go of it
    when a process ends, however it ends. Who finds it free clears `.incoming`.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        self._root = root.resolve()
        sync(self._root.parent)
        self._lock = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        if _taken_alone(self._lock):
            shutil.rmtree(self._root / _INCOMING, ignore_errors=True)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        (self._root / _INCOMING).mkdir(exist_ok=True)  # which also shows at once that the folder can be written to

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._lock)

    def incoming(self, key: str) -> "IncomingBlob":
        """Return what writes the blob of `key`; nothing is on the disk yet."""
        return IncomingBlob(self._root / _INCOMING / key.replace("/", "."), self._root / key)

    def read(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes from `start`, fewer if the file ends before, None if there is no file."""
        try:
            with FileIO(self._root / key) as file:
                return os.pread(file.fileno(), size, start)
        except FileNotFoundError:
            return None

    def remove(self, keys: Iterable[str]) -> None:
        """Remove blobs, as far as they are there. Their folders stay: another blob may be on its way into them."""
        for key in keys:
            (self._root / key).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of the folders that blobs are in, those that never became one included."""
        with os.scandir(self._root) as entries:
            return [entry.name for entry in entries if entry.is_dir() and entry.name != _FILE_SYSTEMS_OWN]

    def old_keys(self, name: str, until: float) -> list[str]:
        """Return the keys in a folder of what was last written `until` then, in seconds since 1970."""
        keys = []
        with os.scandir(self._root / name) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it went away meanwhile
                    if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime <= until:
                        keys.append(f"{name}/{entry.name}")
        return keys


class IncomingBlob:
    """A blob that is being written: into the file `staged`, which then becomes `target`.

    What to do after an error is `discard`.
    """

    def __init__(self, staged: Path, target: Path) -> None:
        self._staged = staged
        self._target = target
        self._file: FileIO | None = None
        self._written = 0
        self._begun = 0

    def write(self, chunks: Sequence[bytes]) -> None:
        """Add bytes; the first time, even none, makes the file."""
        file = self._opened()
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
            self._written += len(chunk)
        if self._written - self._begun >= _BEGIN_BYTES:
            self._begin(file)

    def publish(self, chunks: Sequence[bytes]) -> None:
        """Add the last bytes, and give all their key, durably: first the bytes, then the name and its folders."""
        self.write(chunks)
        with self._opened() as file:
            os.utime(file.fileno())  # a blob is as old as its key, however long its last bytes were waited for
            os.fsync(file.fileno())
        folder = self._target.parent
        folder.mkdir(exist_ok=True)
        self._staged.replace(self._target)
        sync(folder)
        sync(folder.parent)

    def discard(self) -> None:
        """Remove what there is, under its key or not yet."""
        if self._file is not None:
            self._file.close()
        for remains in (self._staged, self._target):
            remains.unlink(missing_ok=True)

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(self._staged, "x")
        return self._file

    def _begin(self, file: FileIO) -> None:
        """Have the disk begin with what is written: little waits in memory then, and nobody for long at the end."""
        if sys.platform == "linux":  # where this advice means so, and pages that are still to be written stay
            os.posix_fadvise(file.fileno(), self._begun, self._written - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = self._written


def sync(path: Path) -> None:
    """Wait until the names in a folder are on the disk."""
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
