"""How much of the processor the processes of a sandbox get beside what Berth runs.

All are nicer than Berth. Those of a crowd, of many processes and threads, run when nothing else that Berth runs wants
to: together they would get most of the processor. Where the kernel shares it among sessions (setsid, autogroup), each
session of the sandbox gets less.

A program may make sessions, and cannot change their shares: /proc is read-only for it. For this watch, the one that the
sandbox sees is, too, so processes are looked for in that of the host.
"""

import time
from collections import deque
from contextlib import suppress

from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.watch.proc import TooMuchError

_MAX_SESSIONS = 16
"""How many there may be at a time: until a look finds it, a new one takes as much as Berth itself."""
_LOOKS, _MAX_NEW = 20, 80
"""How many new ones may be found in so many looks: those that end soon always have as much as Berth itself."""
_FEW, _FEW_OF_GUEST = 8, 64
"""Up to how many processes and threads are no crowd; the kernel of a guest has some 30 for itself."""
_AGAIN_SECONDS = 0.5
"""When a crowd is looked at again. What it starts is like what started it; a process may have been missed."""


class Sessions:
    """Counts the sessions and threads that looks find; a guest has some of its own, of which there may be many."""

    def __init__(self, *, is_guest: bool) -> None:
        self.found: set[bytes] = set()
        self.threads = 0
        self._is_guest = is_guest
        self._new: deque[int] = deque(maxlen=_LOOKS)
        self._noted: set[bytes] = set()
        self._threads = 0

    def begin(self) -> None:
        """Begin to look at all processes."""
        self._noted, self._threads = set(), 0

    def note(self, session: bytes, threads: int) -> None:
        """Note the session of a process, and how many threads it has. TooMuchError if there are too many sessions."""
        self._noted.add(session)
        self._threads += threads
        if not self._is_guest and len(self._noted) > _MAX_SESSIONS:
            raise TooMuchError

    def end(self) -> None:
        """Say what was found. TooMuchError if the last looks have found too many new sessions."""
        self._new.append(len(self._noted - self.found))
        self.found, self.threads = self._noted, self._threads
        if not self._is_guest and sum(self._new) > _MAX_NEW:
            raise TooMuchError


class Shares:
    """The shares of the process `first`, and of all that it started; only as long as it has not ended."""

    def __init__(self, first: int, *, is_guest: bool) -> None:
        self._first = first
        self._few = _FEW_OF_GUEST if is_guest else _FEW
        self._next_crowd = 0.0
        self._known: set[bytes] = set()

    def put_crowd_last(self, how_many: int) -> None:
        """Have so many processes and threads run when nothing else wants to; it is much shorter than a look."""
        if how_many <= self._few or time.monotonic() < self._next_crowd:
            return
        changed = 0
        for process in linux.descendants(self._first):
            if process != self._first:
                changed += sum(linux.put_last(thread) for thread in linux.threads(process))
        if not changed:
            self._next_crowd = time.monotonic() + _AGAIN_SECONDS

    def give(self, sessions: set[bytes]) -> None:
        """Give small shares to sessions that looks have found."""
        if not sessions <= self._known and len(self._shared()) >= len(sessions):
            self._known = sessions

    def _shared(self) -> set[int]:
        """Return the sessions that have a small share now; the kernel may allow the rest only later."""
        shared: set[int] = set()
        for process in linux.descendants(self._first):
            session = linux.session(process)
            if session is None or session in shared:
                continue
            alive = next(filter(linux.is_alive, linux.threads(process)), None)  # its first thread may have ended
            if alive is None:
                continue
            with suppress(PermissionError):  # the session is looked at again, and may not hide for long
                if not linux.share_less(alive):
                    break
                shared.add(session)
        return shared
