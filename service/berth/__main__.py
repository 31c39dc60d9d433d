"""`berth`, and `python -m berth`: the same."""

import os


def main() -> None:
    """Run the command that the arguments name."""
    # Read when grpc is loaded. What it writes to stderr by itself is no line of a log, and stands in its errors, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from berth.cli import main as run  # noqa: PLC0415 - not before

    run()


if __name__ == "__main__":
    main()
