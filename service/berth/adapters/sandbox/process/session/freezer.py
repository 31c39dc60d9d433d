"""Stops a sandbox between two programs of a session: the interpreter alone is left in it, and does not run."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from berth.adapters.sandbox.process.watch.proc import process_names, status_line

INIT, INTERPRETER = "1", "2"
"""The ids of processes in the sandbox: bwrap's own, and the one that it started."""
_SECONDS = 0.5
"""How long it may take; only a program that does all it can against it takes that long."""
_PAUSE_SECONDS = 0.00005
_AT_REST = frozenset("TZX")
"""The states of threads that are stopped, or have ended."""
_ENDED = frozenset("ZX")
_GONE = "-"
"""The state of a thread that was listed and is gone: it may have started another one."""
_TERMINAL, _NO_TERMINAL = 4, b"0"
"""Where a process has its controlling terminal, counted from its state."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Freezer:
    """The processes that are in the open folder `proc`, the /proc of a sandbox.

    An open folder of a process there refers to that process alone, like a pidfd, even if another one gets its id later.
    """

    def __init__(self, proc: int) -> None:
        self._proc = proc

    def interrupt(self) -> bool:
        """Send the interpreter what Ctrl-C sends; return False if it would ignore that, as it does between programs."""
        if self._ignores(signal.SIGINT):
            return False
        self._signal(INTERPRETER, signal.SIGINT)
        return True

    def stop(self) -> bool:
        """Stop the interpreter with all its threads and kill all other processes; return whether that was possible.

        A process that ends may have the kernel send SIGCONT to the interpreter, as its parent or as a member of its
        process group, so the interpreter is stopped once more when none is left. What else could have it go on, timers
        and files that send a signal, is refused by the seccomp filter of sessions. The first process of the sandbox is
        stopped, too: a program may have found a way to have it do something. Neither may have a terminal: when its last
        file is closed, which may be in a message that the kernel clears away later, they would get SIGCONT.
        """
        deadline, is_quiet = time.monotonic() + _SECONDS, True
        while time.monotonic() < deadline:
            self._signal(INTERPRETER, signal.SIGSTOP)
            is_stopped = self.is_stopped()  # from now on it starts no process
            has_others = self._kill_others()
            if is_stopped and not has_others and is_quiet:
                self._signal(INIT, signal.SIGSTOP)
                return not self._has_terminal()
            is_quiet = not has_others
            time.sleep(_PAUSE_SECONDS)
        return False

    def go_on(self) -> None:
        """Have the processes run again."""
        for name in (INIT, INTERPRETER):
            self._signal(name, signal.SIGCONT)

    def is_stopped(self) -> bool:
        """Return whether no thread of the interpreter runs."""
        return self._threads(INTERPRETER) <= _AT_REST

    def _ignores(self, number: signal.Signals) -> bool:
        """Return whether the interpreter ignores a signal; also if it has not been started yet."""
        ignored = status_line(self._text(f"{INTERPRETER}/status"), "SigIgn")
        return not ignored or bool(int(ignored, 16) >> (number - 1) & 1)

    def _has_terminal(self) -> bool:
        """Return whether one of the two processes that are left has a controlling terminal."""
        fields = [self._fields(name) for name in (INIT, INTERPRETER)]
        return any(found[_TERMINAL] != _NO_TERMINAL for found in fields if len(found) > _TERMINAL)

    def _kill_others(self) -> bool:
        """Kill all other processes; return whether there were any."""
        others = [name for name in process_names(self._proc) if name not in {INIT, INTERPRETER}]
        # The first thread of a process may have ended while others run. What is gone may have started others.
        living = [name for name in others if not self._has_ended(name)]
        for name in living:
            self._signal(name, signal.SIGKILL)
        return bool(living)

    def _has_ended(self, name: str) -> bool:
        """Return whether a process that was just listed has ended; not if it is gone: it may have started another."""
        states = self._threads(name)
        return bool(states) and states <= _ENDED

    def _threads(self, name: str) -> set[str]:
        """Return the states of all threads of a process."""
        with self._opened(f"{name}/task") as threads:
            if threads is None:
                return set()
            try:
                return {self._state(f"{name}/task/{thread}") for thread in os.listdir(threads)}
            except OSError:
                return set()  # it has ended

    def _state(self, name: str) -> str:
        """Return the letter for the state of a thread."""
        fields = self._fields(name)
        return chr(fields[0][0]) if fields else _GONE

    def _fields(self, name: str) -> list[bytes]:
        """Return what the kernel says of a thread or process, from its state on; nothing if it has ended."""
        return self._text(f"{name}/stat").rpartition(b")")[2].split()

    def _text(self, name: str) -> bytes:
        """Return what is in a file; nothing if there is none."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            with open(descriptor, "rb", buffering=0) as file:
                return file.readall()
        except OSError:
            return b""

    def _signal(self, name: str, number: signal.Signals) -> None:
        with self._opened(name) as process, suppress(OSError):
            if process is not None:
                signal.pidfd_send_signal(process, number)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int | None]:
        try:
            descriptor = os.open(name, _FOLDER, dir_fd=self._proc)
        except OSError:
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)
