"""Split a multipart body into its parts as it arrives (RFC 2046, section 5.1).

Bytes before the first boundary and after the last one are skipped, blanks after a boundary are
allowed, and a header may be folded into several lines.
"""

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from berth.core.errors import InvalidRequestError
from berth.core.validation import invalid

MAX_HEADERS = 8
MAX_HEADER_BYTES = 4096
MAX_PADDING_BYTES = 1024
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([^\r\n\0]*)")
_FOLDED = re.compile(rb"[ \t][^\r\n\0]*")
_LINE_END, _DASHES = b"\r\n", b"--"

Headers = list[tuple[bytes, bytes]]


class PartBegins(NamedTuple):
    """The start of a part, with its headers: names in lower case, values unfolded."""

    headers: Headers


class PartEnds(NamedTuple):
    """The end of the current part."""


Event = PartBegins | bytes | PartEnds
"""What is found in a body; bytes belong to the current part."""


class _State(Enum):
    PREAMBLE = "preamble"
    HEADERS = "headers"
    CONTENT = "content"
    EPILOGUE = "epilogue"


class MultipartSplitter:
    """Splits a body at `boundary`, which must not have control characters.

    Between two pieces it keeps at most one header line or one boundary, and it looks at each byte a
    bounded number of times. InvalidRequestError for headers that are malformed, too many or too
    long.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = _LINE_END + _DASHES + boundary
        self._boundary = _boundary_after(self._delimiter)
        self._rest = _LINE_END  # so that a body may begin with its first delimiter
        self._at = 0
        self._state = _State.PREAMBLE
        self._headers: Headers = []
        self._header_bytes = 0

    @property
    def has_ended(self) -> bool:
        """Whether the last boundary was found."""
        return self._state is _State.EPILOGUE

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events in `piece`. All of them must be taken before the next piece is fed."""
        self._rest, self._at = self._rest[self._at :] + piece, 0
        before = None
        while before != (self._state, self._at):
            before = self._state, self._at
            if self._state is _State.HEADERS:
                yield from self._read_header()
            elif self._state is _State.EPILOGUE:
                self._at = len(self._rest)
            else:
                yield from self._read_content()

    def _read_header(self) -> Iterator[Event]:
        """Read a header line, or the empty line after the headers."""
        end = self._rest.find(_LINE_END, self._at)
        if end < 0:
            self._check_length(len(self._rest) - self._at - 1)  # the last byte may be the first half of the line end
            return
        line = self._rest[self._at : end]
        self._at = end + len(_LINE_END)
        if line:
            self._add_header(line)
        else:
            self._state = _State.CONTENT
            yield PartBegins(self._headers)

    def _add_header(self, line: bytes) -> None:
        if self._headers and _FOLDED.fullmatch(line):
            self._check_length(len(line))
            name, value = self._headers.pop()
            self._headers.append((name, value + line))
        else:
            found = _HEADER.fullmatch(line)
            if found is None:
                raise malformed("a part has an invalid header line")
            if len(self._headers) == MAX_HEADERS:
                raise malformed(f"a part has more than {MAX_HEADERS} headers")
            self._header_bytes = 0
            self._check_length(len(line))
            self._headers.append((found[1].lower(), found[2].lstrip(b" \t")))
        self._header_bytes += len(line)

    def _check_length(self, length: int) -> None:
        """Check the length of a header with all its lines, including `length` bytes not counted yet."""
        if self._header_bytes + length > MAX_HEADER_BYTES:
            raise malformed(f"a part has a header of more than {MAX_HEADER_BYTES} bytes")

    def _read_content(self) -> Iterator[Event]:
        """Read up to the next boundary, and the boundary as well if it has arrived completely."""
        found = self._boundary.search(self._rest, self._at)
        if found is None:
            yield from self._yield_content(self._find_delimiter_start())
            return
        if len(found[0]) - len(self._delimiter) - len(_LINE_END) > MAX_PADDING_BYTES:
            raise malformed(f"a boundary is followed by more than {MAX_PADDING_BYTES} blanks")
        yield from self._yield_content(found.start())
        if found.lastgroup is None:
            return
        if self._state is _State.CONTENT:
            yield PartEnds()
        self._at, self._state = found.end(), _State[found.lastgroup]
        self._headers, self._header_bytes = [], 0

    def _yield_content(self, end: int) -> Iterator[Event]:
        """Yield the bytes before `end`, unless they are before the first part."""
        if self._state is _State.CONTENT and end > self._at:
            yield self._rest[self._at : end]
        self._at = max(end, self._at)

    def _find_delimiter_start(self) -> int:
        """Return the position at the end of the received bytes at which a delimiter may begin."""
        begin = self._rest.rfind(b"\r", max(self._at, len(self._rest) - len(self._delimiter) + 1))
        return begin if begin >= 0 and self._delimiter.startswith(self._rest[begin:]) else len(self._rest)


def _boundary_after(delimiter: bytes) -> re.Pattern[bytes]:
    """Return the pattern of a boundary: the last one, one before headers, or an incomplete one.

    A delimiter that is followed by anything else is content. The pattern skips those in linear
    time.
    """
    unfinished = rb"\r?\Z"
    return re.compile(
        re.escape(delimiter) + rb"(?:(?P<EPILOGUE>--)|-\Z|[ \t]*+(?:(?P<HEADERS>\r\n)|" + unfinished + rb"))"
    )


def malformed(reason: str) -> InvalidRequestError:
    """Return the error for a malformed form."""
    return invalid("body", f"the multipart form is malformed: {reason}")
