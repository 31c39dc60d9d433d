"""Bounds memory and processes with cgroups, where a folder of cgroups v2 has been delegated to Berth.

A launcher has a folder of its own in that one, with a group for each supervisor. It holds a lock as long as it lives,
and removes what killed launchers left.
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

PREFIX = "berth-execs-"
"""How the names of the folders of launchers begin."""
CONTROLLERS = ("memory", "pids", "cpu")
"""What is used, if it is there."""
_WEIGHT = "10"
"""With `cpu`, all commands together get a tenth of what Berth gets if time is scarce."""
_OF_BWRAP = 2
"""Its processes outside of the sandbox."""
_TRIES, _PAUSE_SECONDS = 100, 0.005
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Group:
    """The cgroup of one sandbox; without a folder it does nothing."""

    def __init__(self, path: str | None, processes: int | None) -> None:
        self._path = path
        self._processes = processes

    def join(self) -> None:
        """Move this process into the group."""
        if self._processes is not None:
            os.write(self._processes, b"0")

    def ran_out_of_memory(self) -> bool:
        """Return whether the kernel killed a process of the group for its memory."""
        if self._path is None:
            return False
        try:
            with open(f"{self._path}/memory.events", encoding="utf-8") as file:
                counts = dict(line.split() for line in file)
        except OSError:
            return False
        return counts.get("oom_kill", "0") != "0"


class Groups:
    """The cgroups of all sandboxes of a launcher; without a folder there are none, and for a `problem` no sandboxes."""

    def __init__(self, path: str | None, problem: OSError | None = None) -> None:
        self._path = path
        self._problem = problem
        self._ended: set[str] = set()

    @classmethod
    def opened(cls, delegated: str | None) -> "Groups":
        """Make the folder in `delegated`; an error is one of each sandbox later, which says what is wrong."""
        if delegated is None:
            return cls(None)
        try:
            with _locked(delegated):
                _remove_left(delegated)
                path = f"{delegated}/{PREFIX}{os.getpid()}-{os.urandom(4).hex()}"
                os.mkdir(path)
                fcntl.flock(os.open(path, _FOLDER), fcntl.LOCK_EX)  # until the last process that inherits it has ended
            for name in CONTROLLERS:
                with suppress(OSError):  # it has not been delegated; without `memory` making a group fails
                    _write(f"{path}/cgroup.subtree_control", f"+{name}")
            with suppress(OSError):  # `cpu` has not been delegated
                _write(f"{path}/cpu.weight", _WEIGHT)
        except OSError as error:
            return cls(None, error)
        return cls(path)

    def made(self, memory_bytes: int, processes: int) -> Group:
        """Make the group of the sandbox of this process, a supervisor; call it before giving up rights."""
        if self._problem is not None:
            raise self._problem
        if self._path is None:
            return Group(None, None)
        path = self._of(os.getpid())
        os.mkdir(path)
        _write(f"{path}/memory.max", str(memory_bytes))
        for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1), ("pids.max", processes + _OF_BWRAP)):
            with suppress(FileNotFoundError):  # a controller that has not been delegated, or a machine without swap
                _write(f"{path}/{name}", str(value))
        return Group(path, os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))

    def end(self, supervisor: int) -> None:
        """Kill what a supervisor that has ended left in its group, and remove the group once it is empty."""
        if self._path is not None:
            self._ended.add(self._of(supervisor))
            self._ended = {path for path in self._ended if not _removed(path)}

    def kill(self) -> None:
        """Have the kernel kill all processes of all groups at once."""
        if self._path is not None:
            _kill(self._path)

    def remove(self) -> None:
        """Remove everything; call it when no process is left, which the kernel may note a moment later."""
        tries = 0
        while self._path is not None and os.path.isdir(self._path) and tries < _TRIES:
            _remove_tree(self._path)
            tries += 1
            time.sleep(_PAUSE_SECONDS)

    def _of(self, supervisor: int) -> str:
        return f"{self._path}/{supervisor}"


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep launchers that start at the same time from one another."""
    descriptor = os.open(folder, _FOLDER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_left(delegated: str) -> None:
    for name in os.listdir(delegated):
        path = f"{delegated}/{name}"
        if name.startswith(PREFIX) and not _is_locked(path):
            _kill(path)
            _remove_tree(path)  # if processes take a moment to end, the next launcher removes it


def _is_locked(path: str) -> bool:
    descriptor = os.open(path, _FOLDER)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_tree(path: str) -> None:
    """Remove a group with those in it, as far as they are empty; its files go with it."""
    with suppress(OSError):
        for name in os.listdir(path):
            if stat.S_ISDIR(os.stat(f"{path}/{name}", follow_symlinks=False).st_mode):
                _remove_tree(f"{path}/{name}")
        os.rmdir(path)


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            return True
        _kill(path)
        return False
    return True


def _kill(path: str) -> None:
    with suppress(OSError):  # a kernel before 5.14
        _write(f"{path}/cgroup.kill", "1")


def _write(path: str, value: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(value)
