"""A multipart form as it streams in: text fields, and one file.

The grammar is python-multipart's. Here are the rules: which part is the file,
how long a field may be, what a file's name is, and that nothing is missing at
the end.
"""

import re
from collections.abc import AsyncIterator, Callable

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MAX_BOUNDARY_LENGTH, MultipartParser, parse_options_header

from berth.core.checks import check_length, invalid
from berth.core.errors import InvalidRequestError

FILE = "file"
MAX_FIELD_BYTES = 4096
MAX_PARTS = 16
_PERCENT = re.compile("%(22|0D|0A)")
"""The three characters that browsers and SDKs write in a name's stead (WHATWG HTML, multipart/form-data)."""


Take = Callable[[str, str], None]
"""Takes the name of a field and its text."""


class Form:
    """Reads a form from `bodies`.

    Every field goes to `take`, as a name and its text, or to `take_late` if it
    stands behind the file. `filename` and `content_type` are those of the
    file's part, known once `find_file` has returned True.
    """

    def __init__(self, content_type: str, bodies: AsyncIterator[bytes], *, take: Take, take_late: Take) -> None:
        self._bodies = bodies
        self._take = take
        self._take_late = take_late
        self._parser = MultipartParser(
            _boundary(content_type),
            {
                "on_part_begin": self._part_begun,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ended,
                "on_headers_finished": self._headers_ended,
                "on_part_data": self._data,
                "on_part_end": self._part_ended,
                "on_end": self._form_ended,
            },
        )
        self.filename: str | None = None
        self.content_type: str | None = None
        self._parts = 0
        self._file_seen = False
        self._ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header = (b"", b"")
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
        """Parse the next body; False at the end. InvalidRequestError for what is no form."""
        body = await anext(self._bodies, None)
        if body is None:
            if not self._ended:
                raise _malformed("the body ends before the form does")
            return False
        try:
            self._parser.write(body)
        except MultipartParseError as error:
            raise _malformed(str(error)) from error
        return True

    def _part_begun(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        self._headers = {}
        self._value = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_ended(self) -> None:
        name, value = self._header
        self._headers[name.lower()] = value
        self._header = (b"", b"")

    def _headers_ended(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise _malformed("a part has no name")
        name = _text(options[b"name"], "a part's name")
        self._field = None if name == FILE else name
        if name == FILE:
            self._file_begun(options.get(b"filename"))

    def _file_begun(self, filename: bytes | None) -> None:
        if self._file_seen:
            raise InvalidRequestError("Only one file can be sent at a time.", param=FILE, code="duplicate_parameter")
        self._file_seen = True
        self.content_type = _text(self._headers.get(b"content-type", b""), "a part's content type") or None
        if filename is not None:
            self.filename = _PERCENT.sub(lambda found: chr(int(found[1], 16)), _text(filename, "the file's name"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._pending.append(data[start:end])
            return
        self._value += data[start:end]
        check_length(len(self._value), self._field[:64], maximum=MAX_FIELD_BYTES, what="string", unit="length")

    def _part_ended(self) -> None:
        if self._field is not None:
            take = self._take_late if self._file_seen else self._take
            take(self._field, _text(bytes(self._value), f"the field '{self._field[:64]}'"))

    def _form_ended(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> bytes:
    _, options = parse_options_header(content_type.encode())
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_LENGTH:
        raise _malformed(f"its content type has no boundary of 1 to {MAX_BOUNDARY_LENGTH} bytes")
    return boundary


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _malformed(f"{what} is not UTF-8") from error


def _malformed(reason: str) -> InvalidRequestError:
    return invalid("body", f"the multipart form is malformed: {reason}")
