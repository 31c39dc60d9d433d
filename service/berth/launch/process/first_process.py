"""Runs Berth as a child if it is the first process (PID 1) of a container.

The kernel drops signals for the first process that it does not handle yet, and makes it the parent of processes that
lose theirs, such as those of `docker exec`. So the first process only forwards signals and reaps children; Berth itself
is its child, for which signals mean what they mean everywhere. It imports only what Python itself has loaded.
"""

import os
import signal

_FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
_KILLED = 128


def run_as_child() -> None:
    """Return in a new child process; this one waits for its end, and exits with its code."""
    watched = {*_FORWARDED, signal.SIGCHLD}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, watched)  # blocked ones are kept, also for the first process
    child = os.fork()
    if child:
        os._exit(_wait_for(child, watched))
    _take_terminal()
    signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _take_terminal() -> None:
    """Make this process alone get what is typed, such as Ctrl-C, which would otherwise arrive twice."""
    if not os.isatty(0) or os.tcgetpgrp(0) != os.getpgrp():
        return
    os.setpgid(0, 0)
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # sent to a process that is not in the foreground yet
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, before)


def _wait_for(child: int, watched: set[signal.Signals]) -> int:
    """Forward signals to `child` until it ends; return its exit code."""
    while True:
        number = signal.sigwait(watched)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # it exists until it is reaped
        elif (code := _reap(child)) is not None:
            return code


def _reap(child: int) -> int | None:
    """Reap all processes that have ended; return the exit code of `child` if it is one of them."""
    code = None
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if not process:
            return code
        if process == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else _KILLED - ended
