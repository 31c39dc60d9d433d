"""Log lines that are written in a thread."""

import subprocess
import sys
from pathlib import Path

from berth.telemetry.writer import ThreadedWriter


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    """All lines are in the file once the writer has finished."""
    lines = [b"%d\n" % number for number in range(10_000)]
    with (tmp_path / "log").open("wb") as file:
        writer = ThreadedWriter(file)
        for line in lines:
            assert writer.write(line) == len(line)
        writer.finish()
    assert (tmp_path / "log").read_bytes() == b"".join(lines)


def test_nothing_is_lost_at_the_exit() -> None:
    """A process that ends by itself, or by an error, has written what it logged, the traceback included."""
    program = """
import sys
from berth.telemetry.logging import configure_logging
import structlog
configure_logging(json=True)
for number in range(1000):
    structlog.get_logger().info("line", number=number)
raise RuntimeError("the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr.count('"event":"line"') == 1000
    assert done.stderr.rstrip().endswith("RuntimeError: the end")
