"""Log lines that are written in a thread."""

import errno
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


class FullSink(io.RawIOBase):
    """A file on a disk that has `room` for some bytes, and no more."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written = b""

    def write(self, data: Any, /) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "full")
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.written += taken
        return len(taken)


@pytest.mark.parametrize(("room", "whole", "lost"), [(0, 0, 3), (7, 0, 3), (10, 1, 2), (17, 1, 2), (30, 3, 0)])
def test_a_torn_line_does_not_tear_the_next(room: int, whole: int, lost: int) -> None:
    """What a full disk takes in part counts as dropped, and the report of it begins a line of its own."""
    sink = FullSink(room)
    writer = ThreadedWriter(sink)
    for number in (1, 2, 3):
        writer.write(b"%d: bytes.\n" % number)
    until(lambda: writer.dropped == lost and len(sink.written) == room)
    sink.room = 1000
    writer.write(b"last\n")
    writer.finish()
    lines = sink.written.splitlines()
    assert [line for line in lines if line.endswith(b": bytes.")] == [b"1: bytes.", b"2: bytes.", b"3: bytes."][:whole]
    assert [json.loads(line)["lines"] for line in lines if line.startswith(b"{")] == ([lost] if lost else [])
    assert (lines[-1], writer.dropped) == (b"last", lost)


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


def until(condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_sink_that_fails_is_unavailable_until_it_works() -> None:
    """The writer tries a broken sink again by itself, and reports the lines that were dropped."""
    sink = Sink()
    writer = ThreadedWriter(sink)
    sink.is_broken = True
    writer.write(b"lost\n")
    until(lambda: not writer.is_available)
    sink.is_broken = False
    until(lambda: writer.is_available)
    assert json.loads(sink.written)["lines"] == 1
    writer.finish()


def test_a_sink_that_blocks_or_is_far_behind_is_unavailable() -> None:
    """It is unavailable after a second in one write, and as soon as half of what may wait is waiting."""
    stuck = Sink()
    stuck.is_open.clear()
    writer = ThreadedWriter(stuck, max_pending_bytes=100)
    writer.write(b"x")
    until(lambda: not writer.is_available)
    stuck.is_open.set()
    until(lambda: writer.is_available)
    stuck.is_open.clear()
    for _ in range(51):
        writer.write(b"x")
    assert not writer.is_available
    stuck.is_open.set()
    until(lambda: writer.is_available)
    writer.finish()


def test_an_event_that_cannot_be_written_raises_nothing() -> None:
    """A value that JSON cannot hold loses its event, which is logged as lost, and the program goes on."""
    program = """
from berth.telemetry.logging import configure_logging
import structlog
configure_logging(json=True)
structlog.get_logger().info("strange", value="\\udc80", other=object())
print("went on")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "went on\n"
    line = json.loads(done.stderr)
    assert (line["event"], line["unwritten"], line["level"]) == ("log.failed", "strange", "error")
