"""Writes log lines in a thread, so that no sink can block, change or stop a call.

A disk that is busy with uploads blocks a write for seconds, a full one or a closed pipe makes it
fail, and a pipe without a reader blocks it for ever.
"""

import atexit
from io import BufferedIOBase, RawIOBase
from queue import Empty, SimpleQueue
from threading import Lock, Thread

import orjson

MAX_PENDING_BYTES = 16 * 1024 * 1024
"""How much may wait for the sink; lines beyond it are dropped."""
FINISH_SECONDS = 2.0
"""How long the exit waits for a sink that takes nothing."""


class ThreadedWriter(BufferedIOBase):
    """A binary file whose writes return at once and never fail; a thread writes them to `file`, in order.

    `file` is unbuffered. Lines that it does not take are dropped and counted in `dropped`; once it works again, a line
    says how many there were. What is pending is written before the process exits; a kill can lose it.
    """

    def __init__(self, file: RawIOBase, *, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        super().__init__()
        self.dropped = 0
        self._reported = 0
        self._file = file
        self._max_pending_bytes = max_pending_bytes
        self._pending_bytes = 0
        self._lock = Lock()
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.finish)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, line: bytes, /) -> int:  # type: ignore[override] # only bytes are written
        """Take a line to be written."""
        taken = bytes(line)
        with self._lock:
            if self._pending_bytes + len(taken) > self._max_pending_bytes:
                self.dropped += 1
                return len(taken)
            self._pending_bytes += len(taken)
        self._lines.put(taken)
        return len(taken)

    def flush(self) -> None:
        """Do nothing: lines are flushed when they are written."""

    def finish(self) -> None:
        """Write what is pending, and end the thread; a sink that takes nothing is left after two seconds."""
        self._lines.put(None)
        self._thread.join(FINISH_SECONDS)

    def _run(self) -> None:
        is_open = True
        while is_open:
            taken = [self._lines.get(), *self._waiting()]
            is_open = None not in taken
            self._write_out([line for line in taken if line is not None])

    def _waiting(self) -> list[bytes | None]:
        lines: list[bytes | None] = []
        try:
            while True:
                lines.append(self._lines.get_nowait())
        except Empty:
            return lines

    def _write_out(self, lines: list[bytes]) -> None:
        unreported = self.dropped - self._reported
        report = orjson.dumps({"level": "warning", "event": "log.dropped", "lines": unreported}) + b"\n"
        try:
            rest = memoryview((report if unreported else b"") + b"".join(lines))
            while rest:
                written = self._file.write(rest)
                if written is None:  # a sink that does not block has no room
                    raise BlockingIOError
                rest = rest[written:]
        except (OSError, ValueError):  # a full disk, a pipe without a reader, a closed file
            with self._lock:
                self.dropped += len(lines)
        else:
            self._reported += unreported
        with self._lock:
            self._pending_bytes -= sum(map(len, lines))
