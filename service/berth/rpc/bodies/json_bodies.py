"""Read a JSON body: check its type and size, and parse it."""

import re
from collections.abc import AsyncIterator

from berth.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from berth.rpc.bodies.json_text import parse_json

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|("(?:[^"\\]++|\\.)*+\\?\Z)', re.DOTALL)
"""A whole string, or the beginning of one at the end of the text."""
_QUOTE, _BACKSLASH = b'"', b"\\"
_STRINGS_PER_VALUE = 2
"""The name of a member, and its value."""


class Outline:
    """Measures a JSON text as it arrives: `length` in bytes, `size` without its strings, about how many `values`.

    In a malformed text it finds at least as many values as a parser reads before it finds the
    error.
    """

    def __init__(self) -> None:
        self.length = 0
        self.size = 0
        self._ends = 0
        self._strings = 0
        self._open = b""

    @property
    def values(self) -> int:
        """An upper limit for the number of values."""
        return 1 + max(self._ends, self._strings // _STRINGS_PER_VALUE)

    def add(self, part: bytes) -> None:
        """Measure the next part of the text."""
        self.length += len(part)
        if self._open == _QUOTE and _QUOTE not in part and _BACKSLASH not in part:
            return
        outline, strings = _STRINGS.subn(rb"\1", self._open + part)
        outside, quote, rest = outline.partition(_QUOTE)
        self._open = quote + _BACKSLASH * ((len(rest) - len(rest.rstrip(_BACKSLASH))) % 2)
        self._strings += strings
        self._ends += outside.count(b",") + outside.count(b"]") + outside.count(b"}")
        self.size += len(outside)


JSON = "application/json"
MAX_VALUES = 10_000
"""How many values a body may have. Reading one takes microseconds, while all other calls wait."""
_MAX_UNMEASURED_BYTES = 2 * MAX_VALUES
"""A body of this many bytes cannot have more than MAX_VALUES values: each takes a byte and a separator."""
_PARAMETER = re.compile(r"""\s*charset\s*=\s*("?)utf-?8\1\s*""", re.IGNORECASE)


async def read_json(content_type: str, bodies: AsyncIterator[bytes], *, maximum: int, room_for_text: int = 0) -> object:
    """Return the JSON value in `bodies`.

    A body may have `maximum` bytes, and `room_for_text` more inside its strings.

    UnsupportedMediaTypeError if the type is not JSON in UTF-8, InvalidRequestError for a body that
    is too large or has too many values (`request_too_large`) and for malformed JSON
    (`invalid_json`).
    """
    _check_type(content_type)
    gathered, outline = bytearray(), Outline()
    async for body in bodies:
        gathered += body
        if len(gathered) > maximum + room_for_text:
            raise _too_large(f"at most {maximum + room_for_text} bytes of JSON are allowed")
        if len(gathered) > _MAX_UNMEASURED_BYTES:
            outline.add(bytes(gathered[outline.length :]))
        if outline.size > maximum:
            raise _too_large(f"at most {maximum} bytes of JSON are allowed besides its strings")
        if outline.values > MAX_VALUES:
            raise _too_large(f"at most {MAX_VALUES} values are allowed")
    return parse_json(bytes(gathered))


def _too_large(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The body is too large: {reason}.", code="request_too_large")


def is_json(content_type: str) -> bool:
    """Return whether a content type is that of JSON, with any parameters."""
    return content_type.partition(";")[0].strip().lower() == JSON


def _check_type(content_type: str) -> None:
    if not is_json(content_type):
        given = f"'{content_type[:64]}'" if content_type else "none"
        raise UnsupportedMediaTypeError(f"The body must be JSON: send 'Content-Type: {JSON}', not {given}.")
    parameters = [one for one in content_type.split(";")[1:] if "charset" in one.lower()]
    if not all(_PARAMETER.fullmatch(one) for one in parameters):
        raise UnsupportedMediaTypeError("The body must be JSON in UTF-8: no other charset is supported.")
