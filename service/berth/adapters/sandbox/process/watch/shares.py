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


class Shares:
    """The shares of the process `first`, and of all that it started; a guest has sessions and threads of its own."""

    def __init__(self, first: int, *, is_guest: bool) -> None:
        self._first = first
        self._is_guest = is_guest
        self._few = _FEW_OF_GUEST if is_guest else _FEW
        self._sessions: set[bytes] = set()
        self._before: set[bytes] = set()
        self._known: set[bytes] = set()
        self._new: deque[int] = deque(maxlen=_LOOKS)
        self._threads = 0
        self._next_crowd = 0.0

    def begin(self, processes: int) -> None:
        """Begin to look at all processes, of which there are so many."""
        self._sessions = set()
        self._threads = processes
        self._put_crowd_last()  # before the look at all that they have, which takes longer

    def note(self, session: bytes, threads: int) -> None:
        """Note the session of a process, and how many threads it has. TooMuchError if there are too many sessions."""
        self._sessions.add(session)
        self._threads += threads - 1
        if not self._is_guest and len(self._sessions) > _MAX_SESSIONS:
            raise TooMuchError

    def end(self) -> None:
        """See to the shares of what was found. TooMuchError if the last looks have found too many new sessions."""
        self._put_crowd_last()
        self._new.append(len(self._sessions - self._before))
        self._before = self._sessions
        if not self._is_guest and sum(self._new) > _MAX_NEW:
            raise TooMuchError
        if self._sessions <= self._known or len(self._shared()) >= len(self._sessions):
            self._known = self._sessions

    def _put_crowd_last(self) -> None:
        if self._threads <= self._few or time.monotonic() < self._next_crowd:
            return
        changed = 0
        for process in linux.descendants(self._first):
            if process != self._first:
                changed += sum(linux.put_last(thread) for thread in linux.threads(process))
        if not changed:
            self._next_crowd = time.monotonic() + _AGAIN_SECONDS

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
