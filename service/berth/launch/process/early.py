"""What the process does before it loads anything: this module imports only what Python itself has loaded."""

import os
import signal
import sys

_STREAMS = ("stdin", "stdout", "stderr")
_TERMINAL = "/dev/tty"


def replace_closed_streams() -> None:
    """Open the null device for each standard stream that the parent has closed.

    Otherwise the next file that is opened, such as the database, gets the number of the stream, and messages of
    libraries are written into it.
    """
    for descriptor, name in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # which gets the lowest free number
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115


def end_at_signals() -> None:
    """End the process with 0 at SIGTERM and SIGINT, until it handles them itself.

    While modules are loaded, and until the event loop runs, there is nothing to finish. Without a terminal SIGHUP does
    not end it, but waits: it asks for a reload.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    if not has_terminal():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def has_terminal() -> bool:
    """Return whether a terminal controls this process."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
