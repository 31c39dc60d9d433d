"""Ends a command at signals as it ends otherwise, so that it can clean up."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

_SAME_SECONDS = 1.0
"""For how long further signals count as the first one."""
_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP, and KeyboardInterrupt on SIGINT, unless these signals are ignored.

    Clean-up within the context is not interrupted by what follows at once: timeout(1), for example, sends a signal to
    a process and once more to its group. A later one interrupts it.
    """
    ending_until = 0.0

    def leave(number: int, _: object) -> None:
        nonlocal ending_until
        now = monotonic()
        if now < ending_until:
            return
        ending_until = now + _SAME_SECONDS
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    handled = [number for number, handler in before.items() if handler in _HANDLERS]
    for number in handled:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
