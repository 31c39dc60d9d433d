"""Counts what a sandbox has on the disk: the entries of its folder, and files without a name that processes keep.

Open files, and programs that run, can be looked at. Of others it is only known that there are any: files that are
mapped or in a message between two processes, those of a process that hides what it has open, and those that a call uses
which has not returned, though another thread has closed them. Then the room that the file system has lost meanwhile
counts; others may have taken some of it.

Not counted are folders that were removed while something that was in them is in use, which keep the room of their
entries until it is not: what others write would count instead whenever a program has a Unix socket with a name.
"""

import os
import platform
import stat
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from berth.adapters.sandbox.process.changes import used
from berth.adapters.sandbox.process.watch.kept import IN_MESSAGES, UNIX_SOCKETS
from berth.adapters.sandbox.process.watch.memory import Memory
from berth.adapters.sandbox.process.watch.proc import Proc

_HOLDING = {
    "x86_64": frozenset(b"40 46 72 73 275 307".split()),
    "aarch64": frozenset(b"25 32 71 76 211 269".split()),
}
"""The numbers of sendfile, splice, sendmsg and sendmmsg, and of fcntl and flock, which wait for locks.

These may wait for long, and have files meanwhile.
"""
_FCNTL = {"x86_64": b"72", "aarch64": b"25"}
_WAITING = (b"0x7", b"0x26")
"""What fcntl is asked for if it waits: F_SETLKW and F_OFD_SETLKW. Programs make many other calls of it."""
_LINKS = ("exe", "cwd")
"""The links to what a thread has in use besides its open files; `chroot` is refused."""


class Used(NamedTuple):
    """The bytes, also those that may be in files which cannot be seen, and the entries that can."""

    size: int
    entries: int


class Disk:
    """The disk of the processes in `proc`, with this `memory`: what they write beneath the open folder `top`.

    `begin` begins a look at the processes, after one at the folders.
    If it `runs_guest`, the kernel of a guest, that has all files of its processes open.
    """

    def __init__(self, top: int, proc: Proc, memory: Memory, *, begin: Callable[[], None], runs_guest: bool) -> None:
        self._begin = begin
        self._runs_guest = runs_guest
        self._holding = _HOLDING.get(platform.machine(), frozenset())
        self._fcntl = _FCNTL.get(platform.machine())
        self._top = top
        self._proc = proc
        self._memory = memory
        self._room, self._size = _room(top), used(top)[0]
        self._room_at_rest = self._room

    def rest(self) -> None:
        """Note that no process runs from now on."""
        self._room_at_rest = _room(self._top)

    def go_on(self) -> None:
        """Note that processes are about to run again: what the file system has lost meanwhile is due to others."""
        self._room += _room(self._top) - self._room_at_rest

    def used(self) -> Used:
        """Return what is used now."""
        size, entries = used(self._top)
        self._begin()  # reading the folders may have taken a while
        unnamed, has_hidden = (self._unnamed_of_guest(), False) if self._runs_guest else self._unnamed()
        size, room = size + unnamed, _room(self._top)
        if has_hidden:
            hidden = self._room - room - (size - self._size)
            return Used(size + max(0, hidden), entries)
        self._room, self._size = room, size
        return Used(size, entries)

    def _unnamed(self) -> tuple[int, bool]:
        """Return the bytes of files without a name that can be seen, and whether there may be others."""
        found: dict[tuple[int, int], int] = {}
        sockets: set[int] = set()
        processes: list[str] = []
        has_hidden = False
        for process in self._proc.processes():
            processes.append(process)
            for info in self._open_files(process):
                if info is None:
                    has_hidden = True
                elif stat.S_ISSOCK(info.st_mode):
                    sockets.add(info.st_ino)
                elif self._is_unnamed(info):
                    found[info.st_dev, info.st_ino] = info.st_blocks * 512
        has_hidden = has_hidden or self._has_other_sockets(processes, sockets) or self._memory.has_hidden_files()
        return sum(found.values()), has_hidden

    def _unnamed_of_guest(self) -> int:
        """Return the bytes of files without a name of a guest, the kernel of which has them all open."""
        found: dict[tuple[int, int], int] = {}
        threads = chain.from_iterable(map(self._proc.threads, self._proc.processes()))
        for thread in self._proc.tables(threads):
            links = filter(None, (self._proc.file(f"{thread}/{name}") for name in _LINKS))
            for info in chain(links, (info for _, info in self._proc.open_files(thread))):
                if self._is_unnamed(info):
                    found[info.st_dev, info.st_ino] = info.st_blocks * 512
        return sum(found.values())

    def _is_unnamed(self, info: os.stat_result) -> bool:
        return _takes_room(info) and info.st_nlink == 0 and info.st_dev not in self._memory.devices

    def _has_other_sockets(self, processes: list[str], seen: set[int]) -> bool:
        """Return whether there are Unix sockets that no process has open: messages to them may hold files."""
        # All processes are in one network; the first of them may have ended.
        listed = next(filter(None, (self._proc.read(f"{process}/net/unix") for process in processes)), b"")
        return not {int(inode) for inode in UNIX_SOCKETS.findall(listed)} <= seen

    def _holds_files(self, number: bytes = b"", *arguments: bytes) -> bool:
        """Return whether a system call with these arguments may wait and have files meanwhile."""
        return number in self._holding and (number != self._fcntl or arguments[1] in _WAITING)

    def _open_files(self, process: str) -> Iterator[os.stat_result | None]:
        """Yield what a process has open, its program and folders among it; None for what cannot be seen."""
        for thread in self._proc.threads(process):  # each may have open files of its own
            yield from filter(None, (self._proc.file(f"{thread}/{name}") for name in _LINKS))
            if self._proc.names(f"{thread}/fd") is None and not self._proc.has_ended(thread):
                yield None
            if self._holds_files(*self._proc.read(f"{thread}/syscall").split()):
                yield None
            for name, info in self._proc.open_files(thread):
                yield info
                if stat.S_ISSOCK(info.st_mode) and IN_MESSAGES.search(self._proc.read(f"{thread}/fdinfo/{name}")):
                    yield None


def _takes_room(info: os.stat_result) -> bool:
    """Return whether it is a file, a folder or a link: a folder keeps the room that its entries took."""
    return stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode) or stat.S_ISLNK(info.st_mode)


def _room(folder: int) -> int:
    """Return the bytes that are free on the file system of an open folder."""
    info = os.fstatvfs(folder)
    return info.f_bfree * info.f_frsize
