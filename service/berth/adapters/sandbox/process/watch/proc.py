"""The /proc of a sandbox, seen from outside: what its processes are and have."""

import os
import time
from contextlib import suppress

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOOK_SECONDS = 0.5
"""How much processor time a look at all processes may take: the supervisor can do nothing else meanwhile."""
_CHUNK = 1 << 16
_ENDED = frozenset({b"Z", b"X"})
_SIZE, _NO_MEMORY = 20, b"0"
"""Where a process has its size, counted from its state; first of all an ending one gives its memory back."""


class TooMuchError(Exception):
    """There is too much to look at."""


class Proc:
    """The processes in the open folder `descriptor`. Any method raises TooMuchError if a look takes too long."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._until = 0.0

    def look(self) -> None:
        """Begin to look at all processes."""
        self._until = time.process_time() + _LOOK_SECONDS

    def processes(self) -> list[str]:
        """Return the names of all processes."""
        return [name for name in os.listdir(self.descriptor) if name.isdigit()]

    def threads(self, process: str) -> list[str]:
        """Return the threads of a process, each as `process/task/thread`; none if it has ended."""
        return [f"{process}/task/{name}" for name in self.names(f"{process}/task") or ()]

    def read(self, path: str) -> bytes:
        """Return the content of a file, nothing if it is not there any more."""
        self._check()
        try:
            with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.descriptor), "rb", buffering=0) as file:
                return file.readall()
        except OSError:
            return b""

    def read_memory(self, process: str, name: str) -> bytes:
        """Return what the file `name` says of the memory of a process, which its first thread may have left."""
        return self.read(f"{process}/{name}") or next(
            filter(None, (self.read(f"{thread}/{name}") for thread in self.threads(process))), b""
        )

    def check_lines(self, path: str, maximum: int) -> None:
        """Raise TooMuchError if a file, which may be a very long one, has more lines than that."""
        if self.count(path, b"\n", maximum) > maximum:
            raise TooMuchError

    def count(self, path: str, mark: bytes, enough: int) -> int:
        """Return about how often a file has `mark`; it is not read to its end if that is more than `enough`."""
        self._check()
        found = 0
        with (
            suppress(OSError),
            open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.descriptor), "rb", buffering=0) as file,
        ):
            while found <= enough and (data := file.read(_CHUNK)):
                found += data.count(mark)
        return found

    def names(self, path: str) -> list[str] | None:
        """Return the names in a folder; None if it may not be read, nothing if it is not there any more."""
        self._check()
        try:
            folder = os.open(path, _OPEN, dir_fd=self.descriptor)
        except PermissionError:
            return None
        except OSError:
            return []
        try:
            return os.listdir(folder)
        except PermissionError:
            return None
        except OSError:
            return []
        finally:
            os.close(folder)

    def has_ended(self, thread: str) -> bool:
        """Return whether a thread, or the first one of a process, has ended or is about to; others may still run."""
        fields = self.read(f"{thread}/stat").rpartition(b")")[2].split()
        return not fields or fields[0] in _ENDED or fields[_SIZE] == _NO_MEMORY

    def is_gone(self, process: str) -> bool:
        """Return whether all threads of a process have ended, or are about to."""
        return all(map(self.has_ended, self.threads(process)))

    def file(self, path: str) -> os.stat_result | None:
        """Return what a link refers to, None if it is not there any more."""
        try:
            return os.stat(path, dir_fd=self.descriptor)
        except OSError:
            return None

    def _check(self) -> None:
        if time.process_time() > self._until:
            raise TooMuchError
