"""The supervisor's end of the socket to Berth: what to run comes in, frames of output and the result go out."""

import json
import os
import select
import struct
from collections.abc import Iterator
from typing import Any

_FRAME = struct.Struct("=cI")
_LENGTH = struct.Struct("=I")
_CHUNK = 1 << 18


class Link:
    """Sends without waiting for Berth to read: a busy Berth must not keep the supervisor from watching."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.is_closed = False
        self._waiting = bytearray()
        self._received = bytearray()

    def receive(self) -> dict[str, Any] | None:
        """Return what to run, None if Berth is gone."""
        head = self._read(_LENGTH.size)
        body = self._read(_LENGTH.unpack(head)[0]) if head else b""
        os.set_blocking(self.descriptor, False)
        return json.loads(body) if body else None

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            data = os.read(self.descriptor, size - len(found))
            if not data:
                return b""
            found += data
        return bytes(found)

    def messages(self) -> list[dict[str, Any]]:
        """Return what else has come from Berth, like the first message; afterwards `is_closed` says if that is all."""
        try:
            while data := os.read(self.descriptor, _CHUNK):
                self._received += data
            self.is_closed = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True
        return list(self._complete())

    def _complete(self) -> Iterator[dict[str, Any]]:
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                return
            yield json.loads(self._received[_LENGTH.size : end])
            del self._received[:end]

    def is_cancelled(self) -> bool:
        """Return whether there is a request to cancel, or no Berth any more."""
        try:
            os.read(self.descriptor, 1)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def events(self) -> int:
        """Return what to wait for."""
        return select.POLLIN | (select.POLLOUT if self._waiting else 0)

    def send(self, kind: bytes, data: bytes) -> None:
        """Send a frame, or keep it for later; what all frames hold together is bounded by the limit on output."""
        self._waiting += _FRAME.pack(kind, len(data)) + data
        self.flush()

    def flush(self) -> None:
        """Send what the socket has room for."""
        try:
            while self._waiting:
                del self._waiting[: os.write(self.descriptor, self._waiting)]
        except BlockingIOError:
            return
        except OSError:
            self._waiting.clear()  # Berth is gone

    def close(self) -> None:
        """Send all that is left."""
        os.set_blocking(self.descriptor, True)
        self.flush()
        os.close(self.descriptor)
