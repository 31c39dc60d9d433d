"""Becomes another program, which the kernel kills when its parent dies.

It is run as a script, `python child_process.py PARENT PROGRAM ARGUMENT…`, that imports nothing from Berth: setting this
up between fork and exec in a process with several threads can deadlock. Works on Linux only; on other systems the
program starts without it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, program: str, *arguments: str) -> None:
    """Make the kernel kill this process when `parent` (a process id) dies, and become `program`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A parent that died before this call causes no signal.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606 - the purpose of this script


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
