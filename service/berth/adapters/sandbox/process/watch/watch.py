"""Watches what all processes of a sandbox together use, from outside, and says which limit they exceed.

What cannot be watched in time, since there is so much of it, exceeds the limit: the supervisor has to end the command
at its timeout, or when Berth is gone.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from berth.adapters.sandbox.process.changes import used
from berth.adapters.sandbox.process.watch.disk import Disk
from berth.adapters.sandbox.process.watch.memory import GuestMemory, Memory
from berth.adapters.sandbox.process.watch.proc import LookEndedError, Proc, TooMuchError
from berth.adapters.sandbox.process.watch.shares import Shares
from berth.adapters.sandbox.process.watch.waiting import available_bytes, free_bytes

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_IN_MEMORY = ("tmp", "dev/shm")
_DISK_SECONDS = 0.1
_DISK_SHARE = 4
"""Looking through the files takes at most one part in five of the time."""
_UNSEEN_SECONDS = 0.005
"""How long processes may run in all without a look at them, which takes as long as a short program."""


class Watch:
    """The processes of one sandbox; `init` is its first one, `top` the open folder that it writes to.

    If it `runs_guest`, its processes are those of the kernel of a guest. A look that takes long ends once `is_over`.
    """

    def __init__(
        self,
        init: int,
        limits: dict[str, Any],
        top: int,
        *,
        runs_guest: bool,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._init = init
        self._has_to_end = is_over
        self._runs_guest = runs_guest
        self._limits = limits
        self._top = top
        self._proc: Proc | None = None
        self._next_disk = 0.0
        self._unseen_seconds = 0.0

    @property
    def proc(self) -> int | None:
        """The open folder /proc of the sandbox, None until the sandbox has been set up."""
        proc = self._opened()
        return None if proc is None else proc.descriptor

    def exceeded_at_rest(self, limits: dict[str, Any], *, ran: float) -> str | None:
        """Return the outcome if `limits` are exceeded now that all processes have been stopped.

        They `ran` for so many seconds since they were stopped before. What little memory they can have taken in
        milliseconds, or have in files without a name, is seen with what they take later.
        """
        self._limits = limits
        self._next_disk = 0.0
        if (proc := self._opened()) is None:
            return None
        proc.is_at_rest = True
        self._unseen_seconds += ran
        if self._unseen_seconds >= _UNSEEN_SECONDS:
            self._unseen_seconds, exceeded = 0.0, self.exceeded()
        else:
            exceeded = "disk" if self._is_over(*used(self._top)) else None
        self._disk.rest()
        return exceeded

    def go_on(self, limits: dict[str, Any], is_over: Callable[[], bool]) -> None:
        """Apply other limits, and end looks otherwise, from now on, when the processes are about to run again."""
        self._limits = limits
        self._has_to_end = is_over
        self._next_disk = 0.0
        if self._proc is not None:
            self._proc.is_at_rest, self._proc.is_over = False, is_over
            self._disk.go_on()

    def has_mapped_files(self, name: str) -> bool:
        """Return whether a process can change a file by writing to memory, which need not change the file's times."""
        proc = self._opened()
        if proc is None:
            return False
        proc.look()
        with suppress(TooMuchError, LookEndedError):
            return self._memory.writes_files(name)
        return True

    def exceeded(self) -> str | None:
        """Return the outcome if the memory or the disk limit is exceeded."""
        with suppress(LookEndedError):
            return self._exceeded()
        return None

    def _exceeded(self) -> str | None:
        proc = self._opened()
        if proc is None:
            return None
        of_disk = partial(free_bytes, self._top)
        proc.look([(available_bytes, self._limits["memory_bytes"]), (of_disk, self._limits["disk_bytes"])])
        self._shares.begin(proc.how_many())
        looking_at = "memory"
        with suppress(TooMuchError):
            if self._memory.used(self._limits["memory_bytes"]) > self._limits["memory_bytes"]:
                return looking_at
            self._shares.end()
            looking_at = "disk"
            return looking_at if self._is_disk_full() else None
        return looking_at

    def put_crowd_last(self) -> None:
        """Have many processes run when nothing else wants to; it is much shorter than a look at all they have."""
        if (proc := self._opened()) is not None:
            self._shares.begin(proc.how_many())

    def _opened(self) -> Proc | None:
        """Open what is watched; it is there when the sandbox has been set up."""
        if self._proc is not None:
            return self._proc
        root = f"/proc/{self._init}/root"
        try:
            if os.stat(f"{root}/proc").st_dev == os.stat("/proc").st_dev:
                return None
            mounts = [os.open(f"{root}/{name}", _OPEN) for name in _IN_MEMORY]
            proc = Proc(os.open(f"{root}/proc", _OPEN), self._has_to_end)
        except OSError:
            return None
        self._shares = Shares(self._init, is_guest=self._runs_guest)
        self._memory = (GuestMemory if self._runs_guest else Memory)(proc, mounts, self._shares)
        self._disk = Disk(self._top, proc, self._memory, runs_guest=self._runs_guest)
        self._proc = proc
        return proc

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
