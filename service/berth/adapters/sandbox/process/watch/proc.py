"""The /proc of a sandbox, seen from outside: what its processes are and have.

A process may end while it is looked at, and have left all that it has to one that it has started, or to a new thread.
So a look goes on until a list has nothing that was not looked at: numbers of processes only grow during a look.
While all processes are stopped, each list is read once.
"""

import os
import platform
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

_READ = os.O_RDONLY | os.O_CLOEXEC
_OPEN = _READ | os.O_DIRECTORY
_COMPARED = 12
"""How many open files of two processes of gVisor are compared: the first ones, which each has for itself or shares."""
_LOOK_SECONDS = 0.5
"""How much processor time a look at all processes may take: what they have changes meanwhile."""
_CHUNK = 1 << 16
_ALL = 1 << 13
"""How much of a file is read at once if all of it is needed: the kernel gives no more than about a page at a time."""
_ENDED = frozenset({b"Z", b"X"})
_SIZE, _NO_MEMORY = 20, b"0"
"""Where a process has its size, counted from its state; first of all an ending one gives its memory back."""
_PARENT, _FLAGS, _SAME_PROGRAM = 1, 6, 0x40
"""Where it has its parent and flags, and the flag of those that have not begun another program."""
_VFORK, _CLONE = (b"58", b"56") if platform.machine() == "x86_64" else (None, b"220")
"""Their numbers; on aarch64 there is one of them."""
_LENDING = 0x4100
"""CLONE_VM and CLONE_VFORK."""


class TooMuchError(Exception):
    """There is too much to look at."""


class Proc:
    """The processes in the open folder `descriptor`. Any method raises TooMuchError if a look takes too long.

    `is_at_rest` while all of them are stopped: then none starts, ends or gets other files.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_at_rest = False
        self._until = 0.0

    def look(self) -> None:
        """Begin to look at all processes, in the thread that calls this."""
        self._until = time.thread_time() + _LOOK_SECONDS

    def processes(self) -> Iterator[str]:
        """Yield the names of all processes, also of those that start meanwhile."""
        return self._all(lambda: process_names(self.descriptor))

    def threads(self, process: str) -> Iterator[str]:
        """Yield the threads of a process, each as `process/task/thread`, like processes; none if it has ended."""
        return self._all(lambda: [f"{process}/task/{name}" for name in self.names(f"{process}/task") or ()])

    def _all(self, listed: Callable[[], list[str]]) -> Iterator[str]:
        """Yield names until there is none that was not yielded; the newest first, since these may be gone soonest."""
        seen: set[str] = set()
        while new := [name for name in listed() if name not in seen]:
            self._check()
            seen.update(new)
            yield from reversed(new)
            if self.is_at_rest:
                return

    def places(self, process: str) -> Iterator[str]:
        """Yield where a file of a process may be read: in its own folder, or, if its first thread has ended, others."""
        yield process
        yield from self.threads(process)

    def open_files(self, place: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the numbers of open files and what they refer to, also of those that get other numbers meanwhile."""
        seen: set[str] = set()
        while new := [name for name in self.names(f"{place}/fd") or () if name not in seen]:
            for name in new:
                try:
                    info = os.stat(f"{place}/fd/{name}", dir_fd=self.descriptor)
                except FileNotFoundError:
                    continue  # it may have another number by now
                except OSError:
                    seen.add(name)
                    continue
                seen.add(name)
                yield name, info
            if self.is_at_rest:
                return

    def tables(self, places: Iterable[str]) -> Iterator[str]:
        """Yield those of some processes or threads of a guest that do not share their open files with one before.

        All that gVisor starts for the processes of a guest share the hundreds of files that its kernel has open.
        """
        seen: list[dict[str, tuple[int, int] | None]] = []
        for place in places:
            self._check()
            if any(all(self._file_at(place, name) == file for name, file in table.items()) for table in seen):
                continue
            first = sorted(self.names(f"{place}/fd") or (), key=int)[:_COMPARED]
            if first:
                seen.append({name: self._file_at(place, name) for name in first})
            yield place

    def _file_at(self, place: str, name: str) -> tuple[int, int] | None:
        info = self.file(f"{place}/fd/{name}")
        return info and (info.st_dev, info.st_ino)

    def read(self, path: str) -> bytes:
        """Return the content of a file, nothing if it is not there any more."""
        self._check()
        found = []
        with suppress(OSError), self._opened(path) as file:
            while data := os.read(file, _ALL):
                found.append(data)
            return b"".join(found)
        return b""

    def ask(self, path: str, question: Callable[[int], bool]) -> bool:
        """Return the answer to a question about an open file; False if the file is not there any more."""
        self._check()
        with suppress(OSError), self._opened(path) as file:
            return question(file)
        return False

    def read_memory(self, process: str, name: str) -> bytes:
        """Return what the file `name` says of the memory of a process, which its first thread may have left."""
        return next(filter(None, (self.read(f"{place}/{name}") for place in self.places(process))), b"")

    def lender(self, process: str) -> str | None:
        """Return the thread of another process that waits while this one runs in its memory (vfork), None if none does.

        Such memory belongs to both, and no number says that it is the same.
        """
        fields = self._fields(process)
        if not _is_fork(fields):
            return None
        return next(
            (
                thread
                for thread in self.threads(fields[_PARENT].decode())
                if self._lends(thread) and process.encode() in self.read(f"{thread}/children").split()
            ),
            None,
        )

    def is_fork(self, process: str) -> bool:
        """Return whether a process has not begun another program than the one that started it."""
        return _is_fork(self._fields(process))

    def _fields(self, process: str) -> list[bytes]:
        return self.read(f"{process}/stat").rpartition(b")")[2].split()

    def _lends(self, thread: str) -> bool:
        number, *arguments = self.read(f"{thread}/syscall").split() or [b""]
        if number == _VFORK:
            return True
        return number == _CLONE and bool(arguments) and int(arguments[0], 16) & _LENDING == _LENDING

    def check_lines(self, path: str, maximum: int) -> None:
        """Raise TooMuchError if a file, which may be a very long one, has more lines than that."""
        if self.count(path, b"\n", maximum) > maximum:
            raise TooMuchError

    def count(self, path: str, mark: bytes, enough: int) -> int:
        """Return about how often a file has `mark`; it is not read to its end if that is more than `enough`."""
        self._check()
        found = 0
        with suppress(OSError), self._opened(path) as file:
            while found <= enough and (data := os.read(file, _CHUNK)):
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
        fields = self._fields(thread)
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

    def may_write(self, path: str) -> bool:
        """Return whether the file that a link refers to was opened for writing, or the link cannot be looked at."""
        self._check()
        try:
            return bool(os.lstat(path, dir_fd=self.descriptor).st_mode & stat.S_IWUSR)
        except OSError:
            return True

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        file = os.open(path, _READ, dir_fd=self.descriptor)
        try:
            yield file
        finally:
            os.close(file)

    def _check(self) -> None:
        if time.thread_time() > self._until:
            raise TooMuchError


def process_names(folder: int) -> list[str]:
    """Return the names of the processes in an open folder, which no other thread may list: they share a position."""
    return [name for name in os.listdir(folder) if name.isdigit()]


def status_line(text: bytes, name: str) -> bytes:
    """Return what a line of the status of a process says, nothing if there is none.

    A regular expression takes five times as long, and there may be hundreds of processes.
    """
    begin = f"\n{name}:\t".encode()
    at = text.find(begin)
    return b"" if at < 0 else text[at + len(begin) : text.find(b"\n", at + 1)]


def _is_fork(fields: list[bytes]) -> bool:
    return len(fields) > _FLAGS and bool(int(fields[_FLAGS]) & _SAME_PROGRAM)
