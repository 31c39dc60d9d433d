"""Counts what the kernel keeps for a sandbox besides the memory of its processes: for connections, pipes and epoll.

Files in a message between two processes cannot be looked at, nor those of a process that hides what it has open. So
much less may be registered with epoll while there are messages with files, and no process may hide for long.
"""

import os
import re
import stat
import time
from typing import NamedTuple

from berth.adapters.sandbox.process.watch.proc import Proc, TooMuchError

IN_MESSAGES = re.compile(rb"^scm_fds:\s*0*[1-9]", re.MULTILINE)
UNIX_SOCKETS = re.compile(rb"^[0-9A-Fa-f]+: \S+ \S+ \S+ \S+ \S+ +([1-9]\d*)\b", re.MULTILINE)
"""The inodes of Unix sockets in the list of a network; those that nothing has accepted yet have none."""
_IN_USE = re.compile(rb"^(TCP6?|UDP6?): inuse [1-9]", re.MULTILINE)
_QUEUES = re.compile(rb"^ *\d+: \S+ \S+ (\S\S) ([0-9A-F]{8}):([0-9A-F]{8}) ", re.MULTILINE)
_OVER = b"06"
"""The state of a connection of which the kernel only remembers that there was one."""
_SOCKETS = re.compile(rb"^sockets: used (\d+)", re.MULTILINE)
"""All sockets of a network, also those that are neither bound nor connected, and are in no list."""
_OVER_BYTES, _SOCKET_BYTES, _PIPE_BYTES = 256, 6144, 16_384
_TEXT_BYTES, _LINE_BYTES = 8192, 160
_REGISTERED = b"\ntfd:"
_MAX_REGISTERED, _MAX_REGISTERED_BESIDE_MESSAGES = 16_384, 1024
"""How many files may be registered with epoll. The kernel bounds these for each user, and Berth may be the same one."""
_MAX_TERMINALS = 256
"""The machine has about 3000 for all sandboxes."""
_TERMINALS, _NEW_TERMINAL = range(136, 144), (5, 2)
_INDEX = re.compile(rb"^tty-index:\s*(\d+)", re.MULTILINE)
_HIDING_SECONDS = 2.0
"""How long a process may hide what it has open: while bwrap sets up a sandbox, its processes do."""


class _Found(NamedTuple):
    pipes: set[int]
    sockets: set[int]
    terminals: set[int]
    registered: list[int]
    in_messages: list[str]
    of_proc: list[str]


class Kept:
    """What the kernel keeps for the processes in `proc`."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._device = os.fstat(proc.descriptor).st_dev
        self._hiding: dict[str, float] = {}
        self._unseen: set[int] = set()
        self._had_messages = False

    def used(self, max_sockets: int) -> int:
        """Return about how many bytes it is. TooMuchError if it is too much otherwise, or more sockets than that."""
        processes, found = list[str](), _Found(set(), set(), set(), [], [], [])
        for process in self._proc.processes():
            processes.append(process)
            self._add(process, found)
        self._hiding = {process: since for process, since in self._hiding.items() if process in processes}
        had_messages, self._had_messages = self._had_messages, self._has_messages(processes, found)
        parked = had_messages and self._had_messages
        maximum = _MAX_REGISTERED_BESIDE_MESSAGES if parked else _MAX_REGISTERED
        if sum(found.registered) > maximum or len(found.terminals) > _MAX_TERMINALS:
            raise TooMuchError
        size = len(found.pipes) * _PIPE_BYTES + self._in_texts(found)
        return size + self.in_connections(max_sockets)

    def _add(self, process: str, found: _Found) -> None:
        """Add what a process has open; all of its threads have the same, and the first one may have ended."""
        is_hiding = False
        for place in self._proc.places(process):
            names = self._proc.names(f"{place}/fd")
            is_hiding = names is None
            if not names:
                continue
            for name, info in self._proc.open_files(place):
                self._add_file(info, f"{place}/fd/{name}", f"{place}/fdinfo/{name}", found)
            if not self._proc.has_ended(place):
                break
        self._note_hiding(process, is_hiding=is_hiding and not self._proc.is_gone(process))

    def _note_hiding(self, process: str, *, is_hiding: bool) -> None:
        if not is_hiding:
            self._hiding.pop(process, None)
        elif time.monotonic() - self._hiding.setdefault(process, time.monotonic()) > _HIDING_SECONDS:
            raise TooMuchError

    def _add_file(self, info: os.stat_result, path: str, about: str, found: _Found) -> None:
        kind = stat.S_IFMT(info.st_mode)
        if kind == stat.S_IFIFO:
            found.pipes.add(info.st_ino)
        elif kind == stat.S_IFCHR:
            found.terminals.update(self._terminals(info.st_rdev, about))
        elif kind == stat.S_IFSOCK:
            found.sockets.add(info.st_ino)
            found.in_messages.extend([about] if IN_MESSAGES.search(self._proc.read(about)) else [])
        elif info.st_dev == self._device:
            found.of_proc.append(path)
        elif kind == 0:  # made by a call such as epoll_create
            found.registered.append(self._proc.count(about, _REGISTERED, _MAX_REGISTERED))

    def _in_texts(self, found: _Found) -> int:
        """Return what the texts of open files in /proc may take.

        The kernel keeps what was made to be read, which may list all that is registered, or all locks.
        """
        if not found.of_proc:
            return 0
        lines = sum(found.registered) + self._proc.count("locks", b"\n", _MAX_REGISTERED)
        return len(found.of_proc) * (_TEXT_BYTES + lines * _LINE_BYTES)

    def _terminals(self, device: int, about: str) -> list[int]:
        major, minor = os.major(device), os.minor(device)
        if (major, minor) == _NEW_TERMINAL:
            return [int(index) for index in _INDEX.findall(self._proc.read(about))]
        return [(major - _TERMINALS.start << 8) + minor] if major in _TERMINALS else []

    def _has_messages(self, processes: list[str], found: _Found) -> bool:
        """Return whether messages hold files, also such to sockets that no process has had open for a while."""
        listed = set(map(int, UNIX_SOCKETS.findall(self._listed(processes, "net/unix"))))
        unseen, self._unseen = self._unseen, listed - found.sockets
        return bool(found.in_messages or unseen & self._unseen)

    def in_connections(self, max_sockets: int) -> int:
        """Return about how many bytes sockets take. TooMuchError if there are more than `max_sockets`."""
        processes = list(self._proc.processes())
        numbers = [self._listed(processes, name) for name in ("net/sockstat", "net/sockstat6")]
        sockets = sum(map(int, _SOCKETS.findall(numbers[0])))
        if sockets > max_sockets:
            raise TooMuchError
        size = sockets * _SOCKET_BYTES
        # The kernel takes milliseconds for the list of connections, even if it is empty.
        for name in _IN_USE.findall(b"\n".join(numbers)):
            for state, sent, received in _QUEUES.findall(self._listed(processes, f"net/{name.decode().lower()}")):
                size += _OVER_BYTES if state == _OVER else int(sent, 16) + int(received, 16)
        return size

    def _listed(self, processes: list[str], name: str) -> bytes:
        """Return a list of the network, in which all processes are; the first of them may have ended."""
        return next(filter(None, (self._proc.read(f"{process}/{name}") for process in processes)), b"")
