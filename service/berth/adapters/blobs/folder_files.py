"""The file operations of FileBlobs. They all may block on the disk and raise OSError.

Bytes are written to `.incoming` first, and moved to their key only once they are
on the disk: a file under a key is always complete, even after a crash.
"""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Self

_INCOMING = ".incoming"
_LOST_AND_FOUND = "lost+found"
_HOLD = ".hold"
_OWNER_ONLY = 0o700
_HOLD_SECONDS = 1.0
_RETRY_SECONDS = 0.01
_WRITEBACK_BYTES = 8 * 1024 * 1024


class BlobFolder:
    """A folder of blobs.

    The processes that use the folder share a lock on it, which the system releases
    when a process ends, however it ends.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)

    @classmethod
    def made(cls, root: Path) -> Self:
        """Open the folder; create it if it does not exist, and clear `.incoming` if no other process uses it."""
        root.mkdir(mode=_OWNER_ONLY, parents=True, exist_ok=True)
        sync(root.resolve().parent)
        folder = cls(root)
        incoming = folder.root / _INCOMING
        if _lock_exclusively(folder._lock):
            shutil.rmtree(incoming, ignore_errors=True)
        fcntl.flock(folder._lock, fcntl.LOCK_SH)
        incoming.mkdir(mode=_OWNER_ONLY, exist_ok=True)  # which also shows at once that the folder can be written to
        return folder

    @classmethod
    def existing(cls, root: Path) -> Self:
        """Open a folder that was made before, and change nothing in it.

        FileNotFoundError if it has no `.incoming`: then it is another folder, or a disk that is not
        mounted, and nothing must be concluded from what is missing in it.
        """
        folder = cls(root)
        try:
            fcntl.flock(folder._lock, fcntl.LOCK_SH)
            (folder.root / _INCOMING).stat()
        except BaseException:
            folder.close()
            raise
        return folder

    def close(self) -> None:
        """Release the folder."""
        os.close(self._lock)

    def incoming(self, key: str) -> "IncomingBlob":
        """Return a writer for the blob of `key`; nothing is written yet."""
        return IncomingBlob(self.root / _INCOMING / key.replace("/", "."), self.root / key)

    def read(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes from `start`: fewer if the file ends before, None if there is no file."""
        try:
            with FileIO(self.root / key) as file:
                return os.pread(file.fileno(), size, start)
        except FileNotFoundError:
            return None

    def size(self, key: str) -> int | None:
        """Return the number of bytes of a file, None if there is no file."""
        try:
            return (self.root / key).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, keys: Iterable[str]) -> None:
        """Delete the blobs that exist, but only incomplete ones while a process holds the folder.

        Their folders are kept: another blob may be about to be moved into them.
        """
        is_held = self._is_held()
        for key in keys:
            if not is_held or key.startswith("."):
                (self.root / key).unlink(missing_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let all processes that use the folder keep its complete blobs while the context lasts.

        BlockingIOError if another process does the same. The hold ends with the process, however it ends.
        """
        with FileIO(self.root / _HOLD, "a", opener=_open_for_owner) as file:
            deadline = time.monotonic() + _HOLD_SECONDS
            while not _lock_exclusively(file.fileno()):  # every delete has the lock for a moment
                if time.monotonic() > deadline:
                    raise BlockingIOError
                time.sleep(_RETRY_SECONDS)
            yield

    def names(self) -> list[str]:
        """Return the names of the subfolders, including `.incoming` with the incomplete uploads."""
        with os.scandir(self.root) as entries:
            return [entry.name for entry in entries if entry.is_dir() and entry.name != _LOST_AND_FOUND]

    def old_keys(self, name: str, until: float) -> list[str]:
        """Return the keys in a subfolder of files last modified at or before `until`, in seconds since 1970."""
        keys = []
        with os.scandir(self.root / name) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it was deleted in the meantime
                    if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime <= until:
                        keys.append(f"{name}/{entry.name}")
        return keys

    def _is_held(self) -> bool:
        try:
            with FileIO(self.root / _HOLD) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


class IncomingBlob:
    """A blob that is being written to the file `staged`, which is then renamed to `target`.

    After an error, call `discard`.
    """

    def __init__(self, staged: Path, target: Path) -> None:
        self._staged = staged
        self._target = target
        self._file: FileIO | None = None
        self._written = 0
        self._written_back = 0

    def write(self, chunks: Sequence[bytes]) -> None:
        """Append bytes; the first call creates the file, even without bytes."""
        file = self._opened()
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
            self._written += len(chunk)
        if self._written - self._written_back >= _WRITEBACK_BYTES:
            self._start_writeback(file)

    def publish(self, chunks: Sequence[bytes]) -> None:
        """Append the last bytes, then move the file to its key, durably: sync the bytes, rename, sync the folders."""
        self.write(chunks)
        with self._opened() as file:
            os.utime(file.fileno())  # the age of a blob counts from its publication, however slowly its bytes arrived
            os.fsync(file.fileno())
        folder = self._target.parent
        folder.mkdir(mode=_OWNER_ONLY, exist_ok=True)
        self._staged.replace(self._target)
        sync(folder)
        sync(folder.parent)

    def discard(self) -> None:
        """Delete the file, whether or not it was published."""
        if self._file is not None:
            self._file.close()
        for path in (self._staged, self._target):
            path.unlink(missing_ok=True)

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(self._staged, "x", opener=_open_for_owner)
        return self._file

    def _start_writeback(self, file: FileIO) -> None:
        """Start writing to the disk: this bounds the dirty pages in memory and the wait for the final sync."""
        if sys.platform == "linux":  # where this advice starts the writing and keeps dirty pages
            os.posix_fadvise(
                file.fileno(), self._written_back, self._written - self._written_back, os.POSIX_FADV_DONTNEED
            )
        self._written_back = self._written


def _open_for_owner(path: str, flags: int) -> int:
    """Open a file that, if it is new, only its owner can access, whatever the umask and the folder of the store are."""
    return os.open(path, flags, 0o600)


def sync(path: Path) -> None:
    """Wait until the entries of a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock_exclusively(lock: int) -> bool:
    """Acquire the lock exclusively and return True, or return False if another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
