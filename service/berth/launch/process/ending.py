"""Ends the process, also if libraries have threads of their own that could disturb the end of the interpreter."""

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from berth.launch.process.early import end_at_signals

OBSTORE = "obstore"


def end_as_decided() -> None:
    """Have signals change the exit code no more, now that all is finished.

    At its end the interpreter leaves them to the system, which would kill the process, except for those that are
    ignored.
    """
    end_at_signals()
    atexit.register(_ignore_signals)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def end(status: int) -> NoReturn:
    """End the process like `sys.exit`, without the end of the interpreter if obstore was used.

    A thread of obstore that returns to Python meanwhile, to drop the result of its last request, aborts the process.
    """
    if OBSTORE not in sys.modules:
        sys.exit(status)
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to run them without the end of the interpreter
    end_at_once(status)


def end_at_once(status: int) -> NoReturn:
    """End the process without what others want to be done at its end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
