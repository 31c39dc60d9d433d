"""Read a multipart form as it arrives: text fields and one file.

`multipart` splits the form and `form_headers` parses headers. This module has the rules: which part
is the file, how long everything else may be, and that nothing is missing at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

from berth.core.errors import InvalidRequestError
from berth.core.validation import check_length, unknown_parameter
from berth.rpc.bodies.form_headers import PartHeaders, boundary_of, decode_text
from berth.rpc.bodies.multipart import Event, Headers, MultipartSplitter, PartBegins, malformed

FILE = "file"
MAX_FIELD_BYTES = 4096
MAX_PARTS = 16
MAX_FRAME_BYTES = 131_072
"""Room for everything but the file: headers and fields of all parts, and what surrounds the parts."""
_PIECE_BYTES = 65_536
"""How much is parsed at a time, while all other calls wait: about a millisecond for a hostile form."""
_MAX_PARSING_SECONDS = 0.001
"""How long parsing may take before other calls run."""


Take = Callable[[str, str], None]
"""Receives the name of a field and its text."""


class Form:
    """Reads a form from `bodies`.

    Every field goes to `take`, as a name and its text, or to `take_late` if it follows the file.
    `filename` and `content_type` are those of the file's part, known once `find_file` has returned
    True.
    """

    def __init__(self, content_type: str, bodies: AsyncIterator[bytes], *, take: Take, take_late: Take) -> None:
        self._pieces = _pieces(bodies)
        self._take = take
        self._take_late = take_late
        self._splitter = MultipartSplitter(boundary_of(content_type))
        self.filename: str | None = None
        self.content_type: str | None = None
        self._parts = 0
        self._file_seen = False
        self._frame_bytes = 0
        self._field: str | None = None
        self._value = bytearray()
        self._pending: list[bytes] = []

    async def find_file(self) -> bool:
        """Read up to the file. Return False if the form ends without one."""
        while not self._file_seen:
            if not await self._feed():
                return False
        return True

    async def file(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file, and read what follows it."""
        more = True
        while more or self._pending:
            pending, self._pending = self._pending, []
            for chunk in pending:
                yield chunk
            more = await self._feed()

    async def _feed(self) -> bool:
        """Parse the next piece. Return False at the end; InvalidRequestError for a malformed form."""
        piece = await anext(self._pieces, None)
        if piece is None:
            if not self._splitter.has_ended:
                raise malformed("the body ends before the form does")
            return False
        self._frame_bytes += len(piece)
        for event in self._splitter.feed(piece):
            self._handle(event)
        if self._frame_bytes > MAX_FRAME_BYTES:
            raise malformed(f"it has more than {MAX_FRAME_BYTES} bytes besides the file")
        return True

    def _handle(self, event: Event) -> None:
        if isinstance(event, bytes):
            self._add(event)
        elif isinstance(event, PartBegins):
            self._begin_part(event.headers)
        elif self._field is not None:
            take = self._take_late if self._file_seen else self._take
            take(self._field, decode_text(bytes(self._value), f"the field '{self._field[:64]}'"))

    def _begin_part(self, headers: Headers) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise malformed(f"it has more than {MAX_PARTS} parts")
        part = PartHeaders(headers)
        name, filename = part.names()
        part.check_encoding()
        self._field, self._value = name, bytearray()
        if name == FILE:
            self._begin_file(filename, part.content_type())
        elif filename is not None:
            error = unknown_parameter(name[:64])
            error.message = f"The part '{name[:64]}' has a file: a file belongs in the part '{FILE}'."
            raise error

    def _begin_file(self, filename: str | None, content_type: str | None) -> None:
        if self._file_seen:
            raise InvalidRequestError("Only one file can be sent at a time.", param=FILE, code="duplicate_parameter")
        self._field = None
        self._file_seen = True
        self.content_type = content_type
        self.filename = filename

    def _add(self, data: bytes) -> None:
        if self._field is None:
            self._pending.append(data)
            self._frame_bytes -= len(data)
            return
        self._value += data
        check_length(len(self._value), self._field[:64], maximum=MAX_FIELD_BYTES, what="string", unit="length")


async def _pieces(bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `bodies` in pieces, and let other calls run after pieces that took long."""
    async for body in bodies:
        began = monotonic()
        for start in range(0, len(body), _PIECE_BYTES):
            yield body[start : start + _PIECE_BYTES]
            if monotonic() - began > _MAX_PARSING_SECONDS:
                await asyncio.sleep(0)
                began = monotonic()
