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


def end_at_ctrl_c() -> None:
    """End the process at SIGINT as commands do, until `raise_at_ctrl_c`: nothing is shown of modules that load."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_interrupted)


def raise_at_ctrl_c() -> None:
    """Have SIGINT interrupt what runs from now on."""
    if signal.getsignal(signal.SIGINT) is _end_interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_interrupted(*_: object) -> None:
    os._exit(128 + signal.SIGINT)


def has_terminal() -> bool:
    """Return whether a terminal controls this process."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
