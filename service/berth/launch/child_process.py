"""Become another program that the kernel kills when its parent dies.

`python child_process.py PARENT PROGRAM ARGUMENT…` is run as a file of its own, before
anything of Berth is imported: in a process that forks and then sets this up
for its child, other threads could hold locks that the child waits for forever.
Linux only; elsewhere the program starts without this.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, program: str, *arguments: str) -> None:
    """Tie this process to its `parent` and become `program`."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A parent that died before the call sends no signal any more.
        if os.getppid() != parent:
            sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606 - the whole point


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
