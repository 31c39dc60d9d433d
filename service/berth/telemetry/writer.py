"""Writes log lines in a thread, so that no sink can block, change or stop a call.

A disk that is busy with uploads blocks a write for seconds, a full one or a closed pipe makes it
fail, and a pipe without a reader blocks it for ever.
"""

import atexit
import select
import time
from bisect import bisect_right
from collections import deque
from contextlib import suppress
from io import BufferedIOBase, RawIOBase
from itertools import accumulate
from threading import Event, Thread

import orjson

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""How much may wait for the sink; lines beyond it are dropped."""
BATCH_SECONDS = 0.02
"""How long lines are gathered: waking the thread for each one would cost a quarter of the CPU time of a call."""
FINISH_SECONDS = 2.0
"""How long the exit waits for a sink that takes nothing."""
RETRY_SECONDS = 1.0
"""Time between two tries to tell a broken sink how many lines were dropped."""
STUCK_SECONDS = 1.0
"""How long a write may take before the sink counts as unavailable."""


class ThreadedWriter(BufferedIOBase):
    """A binary file for the log: a thread writes to `file`, in order, so that writing never blocks or fails.

    `file` is unbuffered. Lines that it does not take, or only in part, are dropped and counted in `dropped`; once it
    works again, a line of its own says so within a second. What is pending is written before the process exits; a kill
    can lose it.
    """

    def __init__(self, file: RawIOBase, *, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        super().__init__()
        self._overflowed = 0  # counted by writers
        self._failed = 0  # counted by the thread
        self._reported = 0
        self._is_failing = False
        self._is_torn = False  # the sink has taken a part of a line
        self._writing_since: float | None = None
        self._file = file
        self._is_shared = False
        self._max_pending_bytes = max_pending_bytes
        self._taken_bytes = 0
        self._done_bytes = 0
        self._lines: deque[bytes] = deque()
        self._has_lines = Event()
        self._is_finished = Event()
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.finish)

    def share(self) -> None:
        """Write pieces that the kernel does not mix with those of other processes that write into the same pipe."""
        self._is_shared = True

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._overflowed + self._failed

    @property
    def is_available(self) -> bool:
        """Whether the sink seems to take lines: it has not just failed, is not stuck, and not far behind."""
        since = self._writing_since
        is_stuck = since is not None and time.monotonic() - since > STUCK_SECONDS
        return not (is_stuck or self._is_failing or self._pending_bytes > self._max_pending_bytes // 2)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, line: bytes, /) -> int:  # type: ignore[override] # only bytes are written
        """Take a line to be written."""
        taken = bytes(line)
        if self._pending_bytes + len(taken) > self._max_pending_bytes:
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

    @property
    def _pending_bytes(self) -> int:
        return self._taken_bytes - self._done_bytes

    def _run(self) -> None:
        while not self._is_finished.is_set():
            self._has_lines.wait(RETRY_SECONDS if self._is_failing else None)
            self._is_finished.wait(BATCH_SECONDS)
            self._has_lines.clear()
            self._write_out(self._take_lines())
        self._write_out(self._take_lines())  # those that came during the last write

    def _take_lines(self) -> list[bytes]:
        return [self._lines.popleft() for _ in range(len(self._lines))]

    def _write_out(self, lines: list[bytes]) -> None:
        dropped = self.dropped
        unreported = dropped - self._reported
        report = orjson.dumps({"level": "warning", "event": "log.dropped", "lines": unreported}) + b"\n"
        pieces = [b"\n"] * self._is_torn + [report] * bool(unreported) + lines
        self._writing_since = time.monotonic()
        taken = self._write_all(b"".join(pieces))
        self._writing_since = None
        ends = list(accumulate(map(len, pieces)))
        missing = len(pieces) - bisect_right(ends, taken)
        self._is_failing = missing > 0
        self._is_torn = taken not in ends if taken else self._is_torn
        self._failed += min(missing, len(lines))
        self._reported = dropped if missing <= len(lines) else self._reported
        self._done_bytes += sum(map(len, lines))

    def _write_all(self, data: bytes) -> int:
        """Write to the file; return how many bytes it has taken, which are fewer if it fails."""
        taken = 0
        with suppress(OSError, ValueError):  # a full disk, a pipe without a reader, a closed file
            while taken < len(data):
                written = self._file.write(memoryview(data)[taken : self._end_of_piece(data, taken)])
                if written is None:  # a sink that does not block has no room
                    break
                taken += written
        return taken

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """Return how far to write at a time: to the end, or as many whole lines as a pipe takes in one piece."""
        limit = start + select.PIPE_BUF
        if not self._is_shared or limit >= len(data):
            return len(data)
        return data.rfind(b"\n", start, limit) + 1 or data.find(b"\n", limit) + 1 or len(data)
