"""Log lines that are written in a thread."""

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from berth.telemetry.writer import ThreadedWriter


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    """All lines are in the file once the writer has finished."""
    lines = [b"%d\n" % number for number in range(10_000)]
    with (tmp_path / "log").open("wb", buffering=0) as file:
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


class Sink(io.RawIOBase):
    """A file that fails as long as it `is_broken`, and blocks until `is_open` is set."""

    def __init__(self) -> None:
        self.is_broken = False
        self.is_open = threading.Event()
        self.is_open.set()
        self.written = b""

    def write(self, data: Any, /) -> int:
        self.is_open.wait()
        if self.is_broken:
            raise BrokenPipeError
        self.written += data
        return len(data)


def test_a_broken_sink_loses_lines_and_says_so() -> None:
    """While the sink fails lines are dropped; once it works again, a line says how many there were."""
    sink = Sink()
    writer = ThreadedWriter(sink)
    sink.is_broken = True
    for _ in range(3):
        writer.write(b"lost\n")
    until(lambda: writer.dropped == 3)
    sink.is_broken = False
    writer.write(b"kept\n")
    writer.finish()
    report, kept = sink.written.splitlines()
    assert json.loads(report) == {"level": "warning", "event": "log.dropped", "lines": 3}
    assert kept == b"kept"


def test_a_sink_that_blocks_takes_bounded_memory() -> None:
    """What does not fit is dropped; the writer goes on as soon as the sink does, and never blocks who logs."""
    sink = Sink()
    sink.is_open.clear()
    writer = ThreadedWriter(sink, max_pending_bytes=100)
    for _ in range(50):
        writer.write(b"ten bytes\n")
    assert writer.dropped == 40
    sink.is_open.set()
    writer.finish()
    assert sink.written.count(b"ten bytes") == 10


def test_a_sink_that_takes_nothing_does_not_stop_the_exit() -> None:
    """A process whose stderr is a full pipe without a reader serves, and ends when it is told to."""
    program = """
import sys
from berth.telemetry.logging import configure_logging
import structlog
configure_logging(json=True)
for number in range(5000):
    structlog.get_logger().info("line", number=number)
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        assert process.wait(60) == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
