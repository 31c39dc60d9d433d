"""Writes log lines in a thread: a disk that is busy with uploads blocks the write of a line for seconds."""

import atexit
from io import BufferedIOBase
from queue import Empty, SimpleQueue
from threading import Thread
from typing import BinaryIO


class ThreadedWriter(BufferedIOBase):
    """A binary file whose writes return at once; a thread writes them to `file`, in order.

    What is pending is written before the process exits; only a kill can lose lines.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
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
        self._lines.put(taken)
        return len(taken)

    def flush(self) -> None:
        """Do nothing: lines are flushed when they are written."""

    def finish(self) -> None:
        """Write what is pending, and end the thread."""
        self._lines.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            lines = [self._lines.get(), *self._pending()]
            is_open = None not in lines
            self._file.write(b"".join(line for line in lines if line is not None))
            self._file.flush()

    def _pending(self) -> list[bytes | None]:
        lines = []
        try:
            while True:
                lines.append(self._lines.get_nowait())
        except Empty:
            return lines
