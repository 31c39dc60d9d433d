"""How long a look at processes may wait: the kernel lets no process read what another one is just changing.

Programs that start others all the time have a look wait, and do no harm as long as there is memory, and room on the
disk. A command could also keep looks waiting to exceed its limits unseen: then what the machine has left tells.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable

Left = tuple[Callable[[], int], int]
"""What tells how much of something the machine has left, and how much of it a command may have."""

_ALL = 1 << 13
_LONG_SECONDS = 0.5
"""For how long a look may wait whatever the command does meanwhile."""
_MAX_SECONDS, _FEW = 5.0, 64
"""For how long it may wait in any case, and for up to how many processes.

Many that fork keep one another from ending what others wait for: looks at bombs have waited for a minute.
"""
_AGAIN_SECONDS = 0.05
"""How often is looked at what the machine has left."""


class Waiting:
    """How long the thread that makes this has waited since then, without the time in which it waited for a processor.

    A long wait is too long once the machine has lost as much of what is `left` as a command may have, or if there are
    many processes, which `how_many` tells.
    """

    def __init__(self, left: Iterable[Left] = (), how_many: Callable[[], int] = lambda: 0) -> None:
        self._how_many = how_many
        self._thread = f"/proc/self/task/{threading.get_native_id()}"
        self._begun, self._ran, self._waits = time.monotonic(), self._ran_or_could(), self._how_often()
        self._least = [(measure, measure() - most) for measure, most in left]

    def is_too_long(self) -> bool:
        """Return, to another thread, whether this one has waited for so long that it may miss what is taken."""
        if not self._has_waited(_LONG_SECONDS):
            return False
        if self._how_many() > _FEW:
            return True
        return any(measure() <= least for measure, least in self._least) or self._has_waited(_MAX_SECONDS)

    def _has_waited(self, seconds: float) -> bool:
        """Return whether it was more than that; never where the kernel does not tell."""
        passed = time.monotonic() - self._begun
        # Without any wait, the machine itself has paused.
        if passed <= seconds or self._waits == self._how_often():
            return False
        if self._ran is None or (ran := self._ran_or_could()) is None:
            return False
        return passed - (ran - self._ran) > seconds

    def _ran_or_could(self) -> float | None:
        """Return for how many seconds the thread has run, or could have, had there been a processor for it."""
        try:
            ran, waited, _ = self._read("schedstat").split()
        except (OSError, ValueError):
            return None
        return (int(ran) + int(waited)) / 1e9

    def _how_often(self) -> bytes:
        """Return how often the thread has waited for something other than a processor."""
        return self._read("status").partition(b"\nvoluntary_ctxt_switches:")[2].partition(b"\n")[0]

    def _read(self, name: str) -> bytes:
        with open(f"{self._thread}/{name}", "rb", buffering=0) as file:
            return file.read(_ALL)


def available_bytes() -> int:
    """Return how much memory the machine could still give to programs."""
    with open("/proc/meminfo", "rb", buffering=0) as file:
        text = file.read(_ALL)
    return int(text.partition(b"MemAvailable:")[2].split(maxsplit=1)[0]) << 10


def free_bytes(folder: int) -> int:
    """Return how much room there is on the file system of an open folder."""
    info = os.fstatvfs(folder)
    return info.f_bfree * info.f_frsize
