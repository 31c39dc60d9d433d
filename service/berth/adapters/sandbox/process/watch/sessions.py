"""The sessions (setsid) of a sandbox: where the kernel shares the processor among them (autogroup), each gets less.

A program may make sessions, and cannot change their shares: /proc is read-only for it. For this watch, the one that the
sandbox sees is, too, so processes are looked for in that of the host.
"""

from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.watch.proc import TooMuchError

_MAX_SESSIONS = 16
"""How many there may be at a time: until a look finds it, a new one takes as much as Berth itself."""


class Sessions:
    """The sessions of the process `first` and all that it started; those of a guest `is_bounded` otherwise."""

    def __init__(self, first: int, *, is_bounded: bool) -> None:
        self._first = first
        self._is_bounded = is_bounded
        self._found: set[bytes] = set()
        self._known: set[bytes] = set()

    def begin(self) -> None:
        """Begin to look at all processes."""
        self._found = set()

    def note(self, session: bytes) -> None:
        """Note that a process is in a session, by its number in the sandbox. TooMuchError if there are too many."""
        self._found.add(session)
        if self._is_bounded and len(self._found) > _MAX_SESSIONS:
            raise TooMuchError

    def share_less(self) -> None:
        """Give sessions that are new since the last look a smaller share of the processor than Berth has."""
        if self._found <= self._known or len(self._shared()) >= len(self._found):
            self._known = self._found

    def _shared(self) -> set[int]:
        """Return the sessions that have a small share now; the kernel may allow the rest only later."""
        shared: set[int] = set()
        for process in linux.descendants(self._first):
            session = linux.session(process)
            if session is None or session in shared:
                continue
            if not linux.share_less(process):
                break
            shared.add(session)
        return shared
