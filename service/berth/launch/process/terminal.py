"""Tells a terminal that was closed from a request to reload the configuration: both arrive as SIGHUP."""

import signal

from berth.launch.process.early import has_terminal


class Terminal:
    """The terminal that controls this process, if it has one."""

    def __init__(self) -> None:
        # Under nohup, SIGHUP is ignored: the process is to outlive its terminal.
        self._is_there = has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN

    def is_closed(self) -> bool:
        """Return whether there was a terminal, and it was closed: the kernel has taken it from the process."""
        return self._is_there and not has_terminal()
