"""Watches what all processes of a sandbox together use, from outside, and says which limit they exceed.

What cannot be watched in time, since there is so much of it, exceeds the limit.
"""

import os
import time
from contextlib import suppress
from functools import partial
from typing import Any

from berth.adapters.sandbox.process.changes import used
from berth.adapters.sandbox.process.watch.disk import Disk
from berth.adapters.sandbox.process.watch.looks import Looks
from berth.adapters.sandbox.process.watch.memory import GuestMemory, Memory
from berth.adapters.sandbox.process.watch.proc import Proc, TooMuchError, process_names
from berth.adapters.sandbox.process.watch.shares import Sessions, Shares
from berth.adapters.sandbox.process.watch.waiting import Left, Waiting, available_bytes, free_bytes

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IN_MEMORY = ("tmp", "dev/shm")
_DISK_SECONDS = 0.1
_DISK_SHARE = 4
"""Looking through the files takes at most one part in five of the time."""
_ENDING_SECONDS = 2.0
"""How long a look may go on once all processes have been stopped."""
_UNSEEN_SECONDS = 0.005
"""How long processes may run in all without a look at them, which takes as long as a short program."""


class Watch:
    """The processes of one sandbox; `init` is its first one, `top` the open folder that it writes to.

    If it `runs_guest`, its processes are those of the kernel of a guest. Looks list folders that nothing else lists.
    """

    def __init__(self, init: int, limits: dict[str, Any], top: int, *, runs_guest: bool) -> None:
        self._init = init
        self._runs_guest = runs_guest
        self._limits = limits
        self._top, self._own_top = top, os.open(".", _OPEN, dir_fd=top)
        self._looks = Looks(self._look)
        self._waiting: Waiting | None = None
        self._folder = -1
        self._proc: Proc | None = None
        self._next_look = self._next_disk = 0.0
        self._unseen_seconds = 0.0

    @property
    def proc(self) -> int | None:
        """The open folder /proc of the sandbox, None until the sandbox has been set up."""
        return None if self._opened() is None else self._folder

    @property
    def descriptor(self) -> int:
        """It becomes readable when a look has ended."""
        return self._looks.descriptor

    def begin_look(self) -> None:
        """Begin a look, unless one goes on, or looks would take more than half of the time."""
        if self._opened() is not None and not self._looks.is_looking and time.monotonic() >= self._next_look:
            self._waiting = None
            self._looks.begin()

    def found(self) -> str | None:
        """Return the outcome if a look has found a limit exceeded, or waits for too long."""
        found, waiting = self._looks.found(), self._waiting
        if self._looks.is_looking and waiting is not None and waiting.is_too_long():
            return "memory"
        return found

    def see_to_shares(self) -> None:
        """See to it that the processes have small shares of the processor; not once they have been killed."""
        if self._opened() is not None:
            self._shares.put_crowd_last(max(self._how_many(), self._sessions.threads))
            self._shares.give(self._sessions.found)

    def has_ended_look(self) -> bool:
        """Wait for the end of a look when all processes have been stopped; return whether it has come."""
        return self._looks.has_ended_within(_ENDING_SECONDS)

    def exceeded_at_rest(self, limits: dict[str, Any], *, ran: float) -> str | None:
        """Return the outcome if `limits` are exceeded now that all processes have been stopped, and no look goes on.

        They `ran` for so many seconds since they were stopped before. What little memory they can have taken in
        milliseconds, or have in files without a name, is seen with what they take later.
        """
        self._limits = limits
        self._next_disk = 0.0
        if (proc := self._opened()) is None:
            return None
        if (exceeded := self._looks.found()) is not None:
            return exceeded
        proc.is_at_rest = True
        self._unseen_seconds += ran
        if self._unseen_seconds >= _UNSEEN_SECONDS:
            self._unseen_seconds, exceeded = 0.0, self._look()
        else:
            exceeded = "disk" if self._is_over(*used(self._top)) else None
        self._disk.rest()
        return exceeded

    def go_on(self, limits: dict[str, Any]) -> None:
        """Apply other limits from now on, when the processes are about to run again."""
        self._limits = limits
        self._next_disk = 0.0
        if self._proc is not None:
            self._proc.is_at_rest = False
            self._disk.go_on()

    def has_mapped_files(self, name: str) -> bool:
        """Return whether a process can change a file by writing to memory, which need not change the file's times."""
        proc = self._opened()
        if proc is None:
            return False
        proc.look()
        with suppress(TooMuchError):
            return self._memory.writes_files(name)
        return True

    def _look(self) -> str | None:
        """Look at all processes once, and return the outcome if a limit is exceeded."""
        begun = time.monotonic()
        try:
            return self._exceeded()
        finally:
            self._next_look = 2 * time.monotonic() - begun

    def _exceeded(self) -> str | None:
        self._begin()
        self._sessions.begin()
        try:
            if self._memory.used(self._limits["memory_bytes"]) > self._limits["memory_bytes"]:
                return "memory"
            self._sessions.end()
            self._waiting = None  # what a disk takes is no wait for processes
            return "disk" if self._is_disk_full() else None
        except TooMuchError:
            return "memory"

    def _begin(self) -> None:
        """Begin to look at the processes."""
        memory_bytes, disk_bytes = self._limits["memory_bytes"], self._limits["disk_bytes"]
        left: list[Left] = [(available_bytes, memory_bytes), (partial(free_bytes, self._own_top), disk_bytes)]
        self._waiting = Waiting(left, self._how_many)
        if self._proc is not None:
            self._proc.look()

    def _opened(self) -> Proc | None:
        """Open what is watched; it is there when the sandbox has been set up."""
        if self._proc is not None:
            return self._proc
        root = f"/proc/{self._init}/root"
        try:
            if os.stat(f"{root}/proc").st_dev == os.stat("/proc").st_dev:
                return None
            mounts = [os.open(f"{root}/{name}", _OPEN) for name in _IN_MEMORY]
            self._folder, proc = os.open(f"{root}/proc", _OPEN), Proc(os.open(f"{root}/proc", _OPEN))
        except OSError:
            return None
        self._shares = Shares(self._init, is_guest=self._runs_guest)
        self._sessions = Sessions(is_guest=self._runs_guest)
        self._memory = (GuestMemory if self._runs_guest else Memory)(proc, mounts, self._sessions)
        self._disk = Disk(self._own_top, proc, self._memory, begin=self._begin, runs_guest=self._runs_guest)
        self._proc = proc
        return proc

    def _how_many(self) -> int:
        return len(process_names(self._folder))

    def _is_disk_full(self) -> bool:
        begun = time.monotonic()
        if begun < self._next_disk:
            return False
        found = self._disk.used()
        ended = time.monotonic()
        self._next_disk = ended + max(_DISK_SECONDS, _DISK_SHARE * (ended - begun))
        return self._is_over(*found)

    def _is_over(self, size: int, entries: int) -> bool:
        return bool(size > self._limits["disk_bytes"] or entries > self._limits["files"])
