"""The entry point of both `berth` and `python -m berth`."""

import os


def main() -> None:
    """Run the command that the arguments select."""
    # Must be set before grpc is loaded. Its own messages on stderr are not lines of the log, and its exceptions contain
    # them as well.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from berth.cli import main as run  # noqa: PLC0415 - after the variable is set

    run()


if __name__ == "__main__":
    main()
