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
_FIRST = "/proc/self"
_LONG_SECONDS = 0.5
"""For how long a look may wait whatever the command does meanwhile."""
_MAX_SECONDS, _FEW = 5.0, 64
"""For how long it may wait in any case, and for up to how many processes.

Many that fork keep one another from ending what others wait for: looks at bombs have waited for a minute.
"""


class Waiting:
    """How long the thread that makes this has waited since then, without the time in which it waited for a processor.

    The time in which the first thread of the process ran, or waited for a processor, does not count either: Python has
    one thread run at a time.
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
        """Return for how many seconds both threads have run, or could have, had there been a processor for them."""
        try:
            return sum(sum(map(int, _read(f"{at}/schedstat").split()[:2])) for at in (_FIRST, self._thread)) / 1e9
        except (OSError, ValueError):
            return None

    def _how_often(self) -> bytes:
        """Return how often the thread has waited for something other than a processor."""
        return _read(f"{self._thread}/status").partition(b"\nvoluntary_ctxt_switches:")[2].partition(b"\n")[0]


def available_bytes() -> int:
    """Return how much memory the machine could still give to programs."""
    return int(_read("/proc/meminfo").partition(b"MemAvailable:")[2].split(maxsplit=1)[0]) << 10


def free_bytes(folder: int) -> int:
    """Return how much room there is on the file system of an open folder."""
    info = os.fstatvfs(folder)
    return info.f_bfree * info.f_frsize


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(_ALL)
