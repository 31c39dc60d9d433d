"""Ends the process, also if libraries have threads of their own that could disturb the end of the interpreter."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

OBSTORE = "obstore"


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
