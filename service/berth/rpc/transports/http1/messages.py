"""Cut the body of a request into messages of gRPC."""

import zlib
from collections import deque

from grpc import StatusCode

from berth.rpc.transports.context import MAX_MESSAGE_BYTES

PREFIX_BYTES = 5
_COMPRESSIONS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}


class MessageError(Exception):
    """A message that cannot be read, or is too large, and the status of the call."""

    def __init__(self, status: StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Messages:
    """The messages of a request that have arrived and were not taken.

    `size` is how many bytes they have, with the part of the next one that has arrived. Messages are compressed as
    `encoding` says, as clients of gRPC may do; they are decompressed when they are taken, and are not larger after it
    than others.
    """

    __slots__ = ("_complete", "_encoding", "_part", "size")

    def __init__(self, encoding: str = "identity") -> None:
        self._encoding = encoding
        self._complete: deque[bytes] = deque()
        self._part = bytearray()
        self.size = 0

    def __bool__(self) -> bool:
        """Whether there is a complete message."""
        return bool(self._complete)

    @property
    def has_part(self) -> bool:
        """Whether a part of a message has arrived."""
        return bool(self._part)

    def feed(self, data: bytes) -> None:
        """Add what has arrived. MessageError as soon as a message is known to be too large."""
        self.size += len(data)
        part = self._part
        if not part and len(data) >= PREFIX_BYTES and len(data) == PREFIX_BYTES + _size(data):
            self._complete.append(data)
            return
        part += data
        while len(part) >= PREFIX_BYTES:
            end = PREFIX_BYTES + _size(part)
            if len(part) < end:
                return
            self._complete.append(bytes(part[:end]))
            del part[:end]

    def take(self) -> bytes:
        """Return the next complete message. MessageError if it cannot be decompressed."""
        framed = self._complete.popleft()
        self.size -= len(framed)
        if not framed[0]:
            return framed[PREFIX_BYTES:]
        return self._decompress(framed)

    def _decompress(self, framed: bytes) -> bytes:
        window = _COMPRESSIONS.get(self._encoding)
        if window is None:
            raise MessageError(StatusCode.UNIMPLEMENTED, "The message is compressed in an unknown way.")
        decompressor = zlib.decompressobj(window)
        try:
            message = decompressor.decompress(framed[PREFIX_BYTES:], MAX_MESSAGE_BYTES + 1)
        except zlib.error:
            message = b""
        if len(message) > MAX_MESSAGE_BYTES:
            raise too_large("Received", len(message))
        if not decompressor.eof:
            raise MessageError(StatusCode.INTERNAL, "The message cannot be decompressed.")
        return message


def _size(framed: bytes | bytearray) -> int:
    size = int.from_bytes(framed[1:PREFIX_BYTES])
    if size > MAX_MESSAGE_BYTES:
        raise too_large("Received", size)
    return size


def too_large(what: str, size: int) -> MessageError:
    """Return the error of a message that was `what`: "Received" or "Sent"."""
    text = f"{what} message larger than max ({size} vs. {MAX_MESSAGE_BYTES})"
    return MessageError(StatusCode.RESOURCE_EXHAUSTED, text)
