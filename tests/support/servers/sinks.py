"""What the log of a Berth goes to, and what can become of it: a pipe with a moody reader, and a disk that fills up."""

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from support.servers.berth import Berth

MOUNT = ("unshare", "--user", "--map-root-user", "--mount")
DISK_BYTES = 64 * 1024 * 1024
_READ_BYTES = 65_536


class PipeSink:
    """A named pipe: it is read, left unread until it is full, or closed, and opened again later."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "pipe"
        os.mkfifo(self._path)
        self.inside = ("sh", "-c", 'exec "$@" 2>"$0"', str(self._path))
        """The command that makes the pipe the stderr of the next one."""
        self._state = "read"
        self._ended = threading.Event()
        self._text = b""
        self._descriptor: int | None = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def started(self, berth: Berth) -> None:
        """Do nothing: the pipe is at the same path for all."""

    def troubles(self) -> list[Callable[[], None]]:
        """Return what can go wrong with it."""
        return [lambda: self._become("unread"), lambda: self._become("closed")]

    def recover(self) -> None:
        """Make it work again."""
        self._become("read")

    def text(self) -> str:
        """Return what has been read so far."""
        return self._text.decode()

    def end(self) -> str:
        """Return all that was read, after what is left, and close the pipe; only after the end of Berth."""
        self._ended.set()
        self._thread.join()
        return self.text()

    def _become(self, state: str) -> None:
        self._state = state

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            self._adapt()
            self._read()
        self._become("read")
        self._adapt()
        self._read()
        self._close()

    def _adapt(self) -> None:
        if self._state == "closed":
            self._close()
        elif self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)

    def _read(self) -> None:
        while (
            self._state == "read" and self._descriptor is not None and select.select([self._descriptor], [], [], 0)[0]
        ):
            piece = os.read(self._descriptor, _READ_BYTES)
            if not piece:
                return
            self._text += piece

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class DiskSink:
    """A file on a small disk of its own, which something else fills up and leaves again."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "disk"
        self._path.mkdir()
        mount = f'mount -t tmpfs -o size={DISK_BYTES} none "$0" && exec "$@" 2>>"$0/log"'
        self.inside = (*MOUNT, "sh", "-c", mount, str(self._path))
        """The command that makes the file the stderr of the next one."""
        self._log = -1

    def started(self, berth: Berth) -> None:
        """Find the disk, which only Berth sees, and keep its file beyond the end of Berth."""
        self._path = Path(f"/proc/{berth.process.pid}/root{self._path}")
        self._log = os.open(self._path / "log", os.O_RDONLY)

    def troubles(self) -> list[Callable[[], None]]:
        """Return what can go wrong with it."""
        return [self._fill]

    def recover(self) -> None:
        """Make it work again."""
        (self._path / "filler").unlink(missing_ok=True)

    def text(self) -> str:
        """Return what the file contains."""
        return os.pread(self._log, DISK_BYTES, 0).decode()

    def end(self) -> str:
        """Return what the file contains, and close it; only after the end of Berth."""
        if self._log < 0:
            return ""
        text = self.text()
        os.close(self._log)
        return text

    def _fill(self) -> None:
        with (self._path / "filler").open("wb", buffering=0) as file, suppress(OSError):  # the log takes room as well
            while room := self._room():
                file.write(bytes(room))

    def _room(self) -> int:
        disk = os.statvfs(self._path)
        return disk.f_bavail * disk.f_frsize


Sink = PipeSink | DiskSink
