"""The headers of a multipart form and of its parts: the boundary, what a part is called, and what its file is.

Their grammar is python-multipart's, but for `filename*`, which it leaves out as
RFC 7578 forbids it. .NET and others send it all the same: it has the exact name
where `filename` is a makeshift, so it is what counts (RFC 6266).
"""

import re
from urllib.parse import unquote_to_bytes

from python_multipart.multipart import MAX_BOUNDARY_LENGTH, parse_options_header

from berth.core.checks import invalid
from berth.core.errors import InvalidRequestError

MAX_FORM_TYPE_LENGTH = 1024
"""Room for the content type of a form: a boundary, and what else clients say of it."""
_BOUNDARY = re.compile(rb"[^\x00-\x1f\x7f]{1,%d}" % MAX_BOUNDARY_LENGTH)
_DISPOSITION, _TYPE, _ENCODING = b"content-disposition", b"content-type", b"content-transfer-encoding"
_READ = frozenset({_DISPOSITION, _TYPE, _ENCODING})
_AS_IT_IS = frozenset({b"7bit", b"8bit", b"binary"})
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.?)*"?', re.DOTALL)
_PERCENT = re.compile("%(22|0D|0A)")
"""The three characters that browsers and SDKs write in a name's stead (WHATWG HTML, multipart/form-data)."""
_EXTENDED = re.compile(rb"utf-8'[^']*'((?:[^%]|%[0-9a-f]{2})*)", re.IGNORECASE | re.DOTALL)
"""A name in the notation of RFC 8187: its charset, its language, and itself."""


class PartHeaders:
    """Gathers the headers of a part as they are parsed, and tells what they say.

    InvalidRequestError for headers that say nothing clear: one that is given
    twice, a part without a name, bytes that are no UTF-8 or are not as they are.
    """

    def __init__(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = bytearray(), bytearray()

    def begin(self) -> None:
        """Begin another part."""
        self._headers = {}

    def add_name(self, data: bytes, start: int, end: int) -> None:
        """Take some of a header's name."""
        self._name += data[start:end]

    def add_value(self, data: bytes, start: int, end: int) -> None:
        """Take some of a header's value."""
        self._value += data[start:end]

    def end_header(self) -> None:
        """Finish a header."""
        name, value = bytes(self._name).lower(), bytes(self._value)
        self._name, self._value = bytearray(), bytearray()
        if name not in _READ:
            return
        if name in self._headers:
            raise malformed(f"a part has the header {name.decode()} twice")
        self._headers[name] = value

    def names(self) -> tuple[str, str | None]:
        """Return what the part is called, and what its file is called, None if that is not said."""
        header = self._headers.get(_DISPOSITION, b"")
        disposition, options = parse_options_header(header)
        starred = _starred(header)
        name = options.get(b"name", b"")
        if disposition != b"form-data" or not name:
            raise malformed("a part has no name")
        return text(name, "a part's name"), _filename(options.get(b"filename"), starred)

    def content_type(self) -> str | None:
        """Return the media type of the part's content, None if it is not said."""
        return text(self._headers.get(_TYPE, b""), "a part's content type") or None

    def check_encoding(self) -> None:
        """Check that the content stands there as it is: what is encoded would be kept encoded, unnoticed."""
        if self._headers.get(_ENCODING, b"binary").strip().lower() not in _AS_IT_IS:
            raise malformed("a part has a Content-Transfer-Encoding; send its bytes as they are")


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a form's content type tells."""
    if len(content_type) > MAX_FORM_TYPE_LENGTH:
        raise malformed(f"its content type has more than {MAX_FORM_TYPE_LENGTH} characters")
    header = content_type.encode()
    _check_once(_options(header))
    boundary = parse_options_header(header)[1].get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed(f"its content type has no boundary of 1 to {MAX_BOUNDARY_LENGTH} bytes")
    return boundary


def text(value: bytes, what: str) -> str:
    """Return `value` as text; `what` it is stands in the error."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"{what} is not UTF-8") from error


def malformed(reason: str) -> InvalidRequestError:
    """Return the error for what is no form."""
    return invalid("body", f"the multipart form is malformed: {reason}")


def _starred(header: bytes) -> bytes | None:
    """Return what stands behind `filename*`; nothing else with a star can be read, and none is left out unnoticed."""
    options = _options(header)
    _check_once(options)
    starred = {name: value for name, value in options if b"*" in name}
    filename = starred.pop(b"filename*", None)
    if starred:
        raise malformed("a part's Content-Disposition has a starred option other than filename*")
    return filename


def _options(header: bytes) -> list[tuple[bytes, bytes]]:
    """Return the options of a header in their order, without what stands in quotes."""
    pairs = (option.partition(b"=") for option in _QUOTED.sub(b'""', header).split(b";")[1:])
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs if name.strip()]


def _check_once(options: list[tuple[bytes, bytes]]) -> None:
    names = [name for name, _ in options]
    if len(set(names)) < len(names):
        raise malformed("a header gives the same option twice")


def _filename(plain: bytes | None, starred: bytes | None) -> str | None:
    if starred is not None:
        return _extended(starred)
    return None if plain is None else _plain(plain)


def _extended(value: bytes) -> str:
    found = _EXTENDED.fullmatch(value)
    if found is None:
        raise invalid("filename", "filename* must be in the notation of RFC 8187, as in UTF-8''na%C3%AFve.txt")
    return _utf8(unquote_to_bytes(found[1]))


def _plain(value: bytes) -> str:
    return _PERCENT.sub(lambda found: chr(int(found[1], 16)), _utf8(value))


def _utf8(filename: bytes) -> str:
    try:
        return filename.decode()
    except UnicodeDecodeError as error:
        raise invalid("filename", "it is not UTF-8") from error
