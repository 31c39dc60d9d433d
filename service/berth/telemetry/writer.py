"""Writes log lines in a thread, so that no sink can block, change or stop a call.

A disk that is busy with uploads blocks a write for seconds, a full one or a closed pipe makes it
fail, and a pipe without a reader blocks it for ever.
"""

import atexit
from collections import deque
from io import BufferedIOBase, RawIOBase
from threading import Event, Thread

import orjson

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""How much may wait for the sink; lines beyond it are dropped."""
BATCH_SECONDS = 0.02
"""How long lines are gathered: waking the thread for each one would cost a quarter of the CPU time of a call."""
FINISH_SECONDS = 2.0
"""How long the exit waits for a sink that takes nothing."""


class ThreadedWriter(BufferedIOBase):
    """A binary file for the log: a thread writes to `file`, in order, so that writing never blocks or fails.

    `file` is unbuffered. Lines that it does not take are dropped and counted in `dropped`; once it works again, a line
    says how many there were. What is pending is written before the process exits; a kill can lose it.
    """

    def __init__(self, file: RawIOBase, *, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        super().__init__()
        self._overflowed = 0  # counted by writers
        self._failed = 0  # counted by the thread
        self._reported = 0
        self._file = file
        self._max_pending_bytes = max_pending_bytes
        self._taken_bytes = 0
        self._done_bytes = 0
        self._lines: deque[bytes] = deque()
        self._has_lines = Event()
        self._is_finished = Event()
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.finish)

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._overflowed + self._failed

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, line: bytes, /) -> int:  # type: ignore[override] # only bytes are written
        """Take a line to be written."""
        taken = bytes(line)
        if self._taken_bytes - self._done_bytes + len(taken) > self._max_pending_bytes:
            self._overflowed += 1
        else:
            self._taken_bytes += len(taken)
            self._lines.append(taken)
            if not self._has_lines.is_set():
                self._has_lines.set()
        return len(taken)

    def flush(self) -> None:
        """Do nothing: lines are flushed when they are written."""

    def finish(self) -> None:
        """Write what is pending, and end the thread; a sink that takes nothing is left after two seconds."""
        self._is_finished.set()
        self._has_lines.set()
        self._thread.join(FINISH_SECONDS)

    def _run(self) -> None:
        while not self._is_finished.is_set():
            self._has_lines.wait()
            self._is_finished.wait(BATCH_SECONDS)
            self._has_lines.clear()
            self._write_out([self._lines.popleft() for _ in range(len(self._lines))])

    def _write_out(self, lines: list[bytes]) -> None:
        dropped = self.dropped
        unreported = dropped - self._reported
        report = orjson.dumps({"level": "warning", "event": "log.dropped", "lines": unreported}) + b"\n"
        try:
            self._write_all((report if unreported else b"") + b"".join(lines))
        except (OSError, ValueError):  # a full disk, a pipe without a reader, a closed file
            self._failed += len(lines)
        else:
            self._reported = dropped
        self._done_bytes += sum(map(len, lines))

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if written is None:  # a sink that does not block has no room
                raise BlockingIOError
            rest = rest[written:]
