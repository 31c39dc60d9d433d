"""A multipart form as it streams in: text fields, and one file.

The grammar is python-multipart's. Here are the rules: which part is the file,
how long everything else may be, and that nothing is missing at the end. What
headers say is the business of `form_headers`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from berth.core.checks import check_length
from berth.core.errors import InvalidRequestError
from berth.rpc.form_headers import PartHeaders, boundary_of, malformed, text

FILE = "file"
MAX_FIELD_BYTES = 4096
MAX_PARTS = 16
MAX_HEADERS = 8
MAX_HEADER_BYTES = 4096
MAX_FRAME_BYTES = 131_072
"""Room for all that is not the file: headers and fields of all parts, and what stands before, between and behind."""
_PIECE_BYTES = 65_536
"""How much is parsed at a time. A hostile form takes a microsecond for each byte, and all other calls wait."""
_LONG_SECONDS = 0.001
"""How long that may take before the others come first; an honest form takes a tenth of it."""


Take = Callable[[str, str], None]
"""Takes the name of a field and its text."""


class Form:
    """Reads a form from `bodies`.

    Every field goes to `take`, as a name and its text, or to `take_late` if it
    stands behind the file. `filename` and `content_type` are those of the
    file's part, known once `find_file` has returned True.
    """

    def __init__(self, content_type: str, bodies: AsyncIterator[bytes], *, take: Take, take_late: Take) -> None:
        self._pieces = _pieces(bodies)
        self._take = take
        self._take_late = take_late
        self._headers = PartHeaders()
        self._parser = MultipartParser(
            boundary_of(content_type),
            {
                "on_part_begin": self._part_begun,
                "on_header_field": self._headers.add_name,
                "on_header_value": self._headers.add_value,
                "on_header_end": self._headers.end_header,
                "on_headers_finished": self._headers_ended,
                "on_part_data": self._data,
                "on_part_end": self._part_ended,
                "on_end": self._form_ended,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )
        self.filename: str | None = None
        self.content_type: str | None = None
        self._parts = 0
        self._file_seen = False
        self._begun = False
        self._ended = False
        self._frame_bytes = 0
        self._field: str | None = None
        self._value = bytearray()
        self._pending: list[bytes] = []

    async def find_file(self) -> bool:
        """Read up to the file; False if the form ends without one."""
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
        """Parse the next piece; False at the end. InvalidRequestError for what is no form."""
        piece = await anext(self._pieces, None)
        if piece is None:
            if not self._ended:
                raise malformed("the body ends before the form does")
            return False
        self._frame_bytes += len(piece)
        try:
            self._parser.write(self._without_preamble(piece))
        except MultipartParseError as error:
            raise malformed(str(error)) from error
        if self._frame_bytes > MAX_FRAME_BYTES:
            raise malformed(f"it has more than {MAX_FRAME_BYTES} bytes beside the file")
        return True

    def _without_preamble(self, piece: bytes) -> bytes:
        """Skip empty lines before the form. The parser skips more or less, as the network cuts them."""
        if not self._begun:
            piece = piece.lstrip(b"\r\n")
            self._begun = bool(piece)
        return piece

    def _part_begun(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise malformed(f"it has more than {MAX_PARTS} parts")
        self._headers.begin()
        self._value = bytearray()

    def _headers_ended(self) -> None:
        name, filename = self._headers.names()
        self._headers.check_encoding()
        self._field = None if name == FILE else name
        if name == FILE:
            self._file_begun(filename)

    def _file_begun(self, filename: str | None) -> None:
        if self._file_seen:
            raise InvalidRequestError("Only one file can be sent at a time.", param=FILE, code="duplicate_parameter")
        self._file_seen = True
        self.content_type = self._headers.content_type()
        self.filename = filename

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._pending.append(data[start:end])
            self._frame_bytes -= end - start
            return
        self._value += data[start:end]
        check_length(len(self._value), self._field[:64], maximum=MAX_FIELD_BYTES, what="string", unit="length")

    def _part_ended(self) -> None:
        if self._field is not None:
            take = self._take_late if self._file_seen else self._take
            take(self._field, text(bytes(self._value), f"the field '{self._field[:64]}'"))

    def _form_ended(self) -> None:
        self._ended = True


async def _pieces(bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield `bodies` in pieces, and let others have their turn behind one that took long."""
    async for body in bodies:
        for start in range(0, len(body), _PIECE_BYTES):
            began = monotonic()
            yield body[start : start + _PIECE_BYTES]
            if monotonic() - began > _LONG_SECONDS:
                await asyncio.sleep(0)
