"""Starts bwrap with its pipes, kills it with all that it started, and reads how its command ended."""

import json
import os
import resource
import select
import signal
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any

from berth.adapters.sandbox.process import guest, linux
from berth.adapters.sandbox.process.arguments import Layout
from berth.adapters.sandbox.process.cgroup import Group
from berth.adapters.sandbox.process.rlimits import limit, lower

_PIPE = 1 << 16
_SIGNALS = 1024
"""How many signals may wait, timers included: without a limit, a command could use up those of Berth's user."""
_LARGE = 32 << 20
"""How much memory a process may have that takes little time to be freed."""
_NOT_STARTED = {b"bwrap: execvp ": (127, b""), b"bwrap: Can't chdir to ": (126, b"cannot change to ")}
"""What bwrap says if it is the command that is wrong; the exit codes of shells, and what a command's caller reads."""


class Pipes:
    """The ends that a supervisor keeps: of the command's streams, of what bwrap reports, and of further `channels`."""

    def __init__(self, stdin: bytes, channels: tuple[str, ...] = ()) -> None:
        self._input = memoryview(stdin)
        self.requests, self.reports, self._started = -1, -1, -1
        self.child_channels: list[int] = []
        if "requests" in channels:
            child, self.requests = os.pipe()
            self.child_channels.append(child)
        if "reports" in channels:
            self.reports, child = os.pipe()
            self.child_channels.append(child)
        if guest.STARTED in channels:
            self._started, child = os.pipe()
            self.child_channels.append(child)
        self.child_in, writer = os.pipe()
        self.stdin: int | None = writer
        self.stdout, self.child_out = os.pipe()
        self.stderr, self.child_err = os.pipe()
        self.status, self.child_status = os.pipe()
        self.child_block, self.block = os.pipe()
        self._sink = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        for descriptor in (writer, self.stdout, self.stderr, self.requests, self.reports, self._started):
            if descriptor >= 0:
                os.set_blocking(descriptor, False)

    def readable(self) -> tuple[int, int, int]:
        """Return what is to be read."""
        return self.stdout, self.stderr, self.status

    def name(self, descriptor: int) -> str:
        """Return which stream a descriptor is."""
        return "stdout" if descriptor == self.stdout else "stderr"

    def feed(self, poll: "select.poll") -> None:
        """Write what the command's standard input has room for, and close it after the last byte."""
        if self.stdin is None:
            return
        try:
            self._input = self._input[os.write(self.stdin, self._input[:_PIPE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._input = self._input[:0]
        if not self._input:
            poll.unregister(self.stdin)
            os.close(self.stdin)
            self.stdin = None

    def read(self, descriptor: int, size: int) -> bytes | None:
        """Return what there is, nothing at the end, None if there is nothing yet."""
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            return None

    def throw_away(self, descriptor: int) -> bool:
        """Drop some output without copying it; return whether there was any."""
        try:
            return os.splice(descriptor, self._sink, _PIPE * 16) > 0
        except BlockingIOError:
            return False

    def drain(self, pass_on: Callable[[str, bytes], None]) -> None:
        """Read what is left after the end of all processes."""
        for descriptor in (self.stdout, self.stderr):
            while data := self.read(descriptor, _PIPE):
                pass_on(self.name(descriptor), data)

    def close_child_ends(self) -> None:
        """Close what only the command uses."""
        for descriptor in (self.child_in, self.child_out, self.child_err, self.child_status, self.child_block):
            os.close(descriptor)
        for descriptor in self.child_channels:
            os.close(descriptor)

    def has_started(self) -> bool:
        """Return whether a guest has said that it runs, which no command can take back; call it when it has ended."""
        return bool(self.read(self._started, 1))

    def report(self) -> bytes:
        """Return what the command has reported, at most a pipe full; call it when it has ended."""
        return (self.reports >= 0 and self.read(self.reports, _PIPE)) or b""


class Sandboxed:
    """A bwrap that runs: its process, and the first process of the sandbox as soon as it is known."""

    def __init__(self, pipes: Pipes, *, processes: int, runs_guest: bool) -> None:
        self.pipes = pipes
        self.runs_guest = runs_guest
        self._processes = processes
        self.init: int | None = None
        self._init_handle: int | None = None
        self._exit_code: int | None = None
        self._status = b""

    def read_status(self) -> bool:
        """Read what bwrap reports; return False when it has ended."""
        data = os.read(self.pipes.status, _PIPE)
        self._status += data
        *lines, self._status = self._status.split(b"\n")
        for line in filter(None, lines):
            self._note(json.loads(line))
        return bool(data)

    def _note(self, status: dict[str, Any]) -> None:
        if "child-pid" in status:
            self.init = status["child-pid"]
            with suppress(ProcessLookupError):
                self._init_handle = os.pidfd_open(self.init)
                # It is what dies first, with everything else, so it must not wait for its turn among them.
                linux.wake_soon(self.init, is_inherited=False)
        self._exit_code = status.get("exit-code", self._exit_code)

    def exit_code(self, first_error: bytes) -> int | None:
        """Return the exit code of the command, None if it was not started; `first_error` is how its stderr begins."""
        if self.runs_guest:
            return self._exit_code if self.pipes.has_started() else None
        if self._exit_code is None:
            return next((code for text, (code, _) in _NOT_STARTED.items() if first_error.startswith(text)), None)
        return self._exit_code

    def worded(self, error: bytes) -> bytes:
        """Return what a command's caller reads for an `error`, if it is how bwrap says that it was not started."""
        if self._exit_code is None:
            for text, (_, own) in _NOT_STARTED.items():
                error = own + error.removeprefix(text) if error.startswith(text) else error
        return error

    def release(self, init: int) -> None:
        """Let the sandbox go on, with limits that count for its own user namespace if they are set in it.

        Set before, they would bound what all sandboxes of Berth's user have together.
        """
        limits = {resource.RLIMIT_NPROC: self._processes}
        if not self.runs_guest:  # a guest has its signals from its own kernel
            limits[resource.RLIMIT_SIGPENDING] = _SIGNALS
        with suppress(ProcessLookupError):
            for kind, maximum in limits.items():
                lower(init, kind, maximum)
        with suppress(BrokenPipeError):
            os.write(self.pipes.block, b"1")

    def kill(self) -> None:
        """Kill everything, and return when nothing is left."""
        if self.init is not None and self._init_handle is not None:
            linux.end_all(self.init, self._init_handle, _LARGE)
            with suppress(ProcessLookupError):  # also if nothing can be said about what it started
                signal.pidfd_send_signal(self._init_handle, signal.SIGKILL)
        # If bwrap has only just started the sandbox's first process, that one waits for it, and does not end with it.
        with suppress(ChildProcessError):
            while True:
                kill_children()
                os.waitpid(-1, 0)


def may_say_not_started(error: bytes) -> bool:
    """Return whether stderr begins as it does if bwrap does not start a command; a command may write that, too."""
    return any(error.startswith(text) or text.startswith(error) for text in _NOT_STARTED)


def kill_children(*, but: Collection[int] = ()) -> None:
    """Kill the children of this process, also those that it has adopted, except some."""
    for child in linux.children(os.getpid()):
        if child not in but:
            os.kill(child, signal.SIGKILL)


def start(layout: Layout, arguments: Callable[[Layout, Callable[[bytes], int]], list[str]], group: Group) -> Sandboxed:
    """Start bwrap; it waits before it starts the command until it is released."""
    pipes = Pipes(b64decode(layout.spec["stdin"]), tuple(layout.spec["channels"]))
    kept = [pipes.child_status, pipes.child_block, *pipes.child_channels]
    of_pipes = len(kept)

    def keep(data: bytes) -> int:
        kept.append(_file(data))
        return kept[-1]

    options = arguments(layout, keep)
    options += ["--json-status-fd", str(pipes.child_status), "--block-fd", str(pipes.child_block)]
    listed = keep(b"".join(os.fsencode(option) + b"\0" for option in options))
    program = layout.path(layout.spec["bwrap"])
    command = [program, "--args", str(listed), "--", *layout.command(pipes.child_channels)]
    parent = os.getpid()
    if os.fork() == 0:
        _become(command, pipes, kept, parent, group, layout.rlimits())
    pipes.close_child_ends()
    for descriptor in kept[of_pipes:]:
        os.close(descriptor)
    return Sandboxed(pipes, processes=layout.processes, runs_guest=layout.runs_guest)


def _become(
    command: list[str], pipes: Pipes, kept: list[int], parent: int, group: Group, limits: Mapping[str, tuple[int, int]]
) -> None:
    try:
        linux.die_with_parent(parent)
        group.join()
        os.nice(linux.NICER)
        linux.wake_soon(0, is_inherited=False)
        limit(limits)
        for target, descriptor in enumerate((pipes.child_in, pipes.child_out, pipes.child_err)):
            os.dup2(descriptor, target)
        for descriptor in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):  # that of the listing itself
                os.set_inheritable(descriptor, descriptor in {0, 1, 2, *kept})
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        if pipes.requests >= 0:  # the interpreter of a session is interrupted as soon as it runs a program, not before
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.execve(command[0], command, {})  # noqa: S606 - the purpose of this process
    except BaseException as error:  # noqa: BLE001 - it has to be reported, whatever it is
        os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(126)


def _file(data: bytes) -> int:
    descriptor = os.memfd_create("berth")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
