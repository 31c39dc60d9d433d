"""Starts a supervisor for each sandbox: a small process that Berth starts once and that forks.

Berth's own process has threads of gRPC, so it must not fork; this one has a single thread and has loaded what a
supervisor needs. Each message on its standard input is one byte with the socket of a supervisor.

A supervisor ends what it has started. If it is killed, the kernel does that, except for the first process of a sandbox
that is only just being started: that one becomes a child of the launcher, which kills it.

If Berth is gone, the launcher kills all supervisors: that works whatever they are doing, and however long they would
have to wait for a processor beside what their commands have started.
"""

import gc
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.cgroup import Groups
from berth.adapters.sandbox.process.children import kill_children
from berth.adapters.sandbox.process.link import Link
from berth.adapters.sandbox.process.supervision import FAILED
from berth.adapters.sandbox.process.supervisor import supervise

_NEW_SECONDS, _LOOK_SECONDS = 0.3, 0.004
"""For how long, and how often, is looked whether a command has started; bwrap takes some 20 ms, or more."""


def main() -> None:
    """Start supervisors until Berth closes its end; a second argument is the folder of cgroups for sandboxes."""
    linux.adopt_orphans()
    linux.wake_soon(os.getpid(), is_inherited=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A terminal sends these to the whole group; Berth decides when its commands end.
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as requests:
        # The number must not be given to a pipe of a command.
        os.dup2(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), 0)
        gc.freeze()  # supervisors would copy all that a collection looks at
        launcher = Launcher(requests, Groups.opened(next(iter(sys.argv[2:]), None)))
        launcher.run()
        launcher.end()


class Launcher:
    """Starts the supervisors that come as `requests`, and knows which of its children they are."""

    def __init__(self, requests: socket.socket, groups: Groups) -> None:
        self._requests = requests
        self._groups = groups
        self._supervisors: set[int] = set()
        self._new = NewSandboxes()
        self._deaths, writer = os.pipe()
        for descriptor in (self._deaths, writer):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the pipe tells; a handler might interrupt itself

    def run(self) -> None:
        """Return when Berth has closed its end."""
        poll = select.poll()
        for descriptor in (self._requests.fileno(), self._deaths):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(self._new.wait_milliseconds())}
            self._new.look()
            if self._deaths in ready:
                os.read(self._deaths, select.PIPE_BUF)
                self._clear()
            if self._requests.fileno() in ready and not self._receive():
                return

    def _clear(self) -> None:
        """Forget the supervisors that have ended, and kill what they have left."""
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._note_end(pid)
        except ChildProcessError:
            return
        kill_children(but=self._supervisors)

    def _note_end(self, pid: int) -> None:
        self._supervisors.discard(pid)
        self._new.discard(pid)
        self._groups.end(pid)

    def end(self) -> None:
        """Kill all that was started, and return when nothing is left."""
        self._groups.kill()
        with suppress(ChildProcessError):
            while True:
                kill_children()
                os.waitpid(-1, 0)
        self._groups.remove()

    def _receive(self) -> bool:
        """Start a supervisor; return False at the end of the requests."""
        data, descriptors, _, _ = socket.recv_fds(self._requests, 1, 1, socket.MSG_CMSG_CLOEXEC)
        if data and (supervisor := self._start(descriptors[0])) is not None:
            self._supervisors.add(supervisor)
            self._new.add(supervisor)
        for descriptor in descriptors:
            os.close(descriptor)
        return bool(data)

    def _start(self, link: int) -> int | None:
        try:
            pid = os.fork()
        except OSError as error:  # Berth has all the processes that it may have
            Link(link).send(FAILED, f"no process can be started: {error.strerror}".encode())
            return None
        if pid == 0:
            self._requests.close()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            linux.step_back()
            supervise(link, self._groups)
        return pid


class NewSandboxes:
    """Sandboxes in which a command is about to start; they get a small share of the processor as soon as it does.

    A supervisor has no rights to do that at once for many of them, and looks at its own one later.
    """

    def __init__(self) -> None:
        self._until: dict[int, float] = {}

    def add(self, supervisor: int) -> None:
        """Look at the sandbox of a new supervisor for a while."""
        self._until[supervisor] = time.monotonic() + _NEW_SECONDS

    def discard(self, supervisor: int) -> None:
        """Do not look at the sandbox of a supervisor any more."""
        self._until.pop(supervisor, None)

    def wait_milliseconds(self) -> float | None:
        """Return how long to wait before the next look, None if there is nothing to look at."""
        return _LOOK_SECONDS * 1000 if self._until else None

    def look(self) -> None:
        """Look at all of them once."""
        now = time.monotonic()
        self._until = {
            supervisor: until
            for supervisor, until in self._until.items()
            if now < until and not _shares_less(supervisor)
        }


def _shares_less(supervisor: int) -> bool:
    """Give the command a smaller share, if bwrap has made its session; return whether it has it."""
    with suppress(PermissionError):
        for bwrap in linux.children(supervisor):
            for first in linux.children(bwrap):
                return linux.session(first) == first and linux.share_less(first)
    return False
