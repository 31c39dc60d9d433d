"""The entry point of both `berth` and `python -m berth`."""

import os
import sys

from berth.launch.process.collection import collect_seldom
from berth.launch.process.early import end_at_ctrl_c, end_at_signals, replace_closed_streams
from berth.launch.process.first_process import run_as_child

SERVING = ("up", "serve")
FIRST_PROCESS = 1


def main() -> None:
    """Run the command that the arguments select."""
    replace_closed_streams()
    collect_seldom()
    if sys.argv[1:2] and sys.argv[1] in SERVING:
        end_at_signals()
    else:
        end_at_ctrl_c()
    if os.getpid() == FIRST_PROCESS:
        run_as_child()
    # These must be set before anything is loaded. grpc's own messages on stderr are not lines of the log, and its
    # exceptions contain them as well. Before a fork, grpc would wait for its own threads, possibly for ever; Python
    # forks to start a program if the kernel refuses vfork, since there are too many processes. No other package has a
    # part in reading settings, secrets among them, and looking for such packages takes 30 ms.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from berth.cli import main as run  # noqa: PLC0415 - after the variables are set

    run()


if __name__ == "__main__":
    main()
