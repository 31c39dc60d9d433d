"""Parse the headers of a multipart form and of its parts: boundary, part name, file name and media type.

File names come in four notations: unencoded, with the escapes of browsers (WHATWG HTML) or
backslashes before quotes, as an encoded word (RFC 2047, older mail libraries), and as `filename*`
(RFC 8187, .NET). If both are given, `filename*` is used: it has the exact name, and `filename` is
only a fallback (RFC 6266).
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp
from urllib.parse import unquote_to_bytes

from berth.core.validation import invalid
from berth.rpc.bodies.multipart import Headers, malformed

MAX_FORM_TYPE_LENGTH = 1024
"""Room for the content type of a form: a boundary, and other parameters that clients add."""
MAX_BOUNDARY_LENGTH = 256
_BOUNDARY = re.compile(rb"[^\x00-\x1f\x7f]{1,%d}" % MAX_BOUNDARY_LENGTH)
_DISPOSITION, _TYPE = b"content-disposition", b"content-type"
_TRANSFER_ENCODING, _ENCODING = b"content-transfer-encoding", b"content-encoding"
_READ = frozenset({_DISPOSITION, _TYPE, _TRANSFER_ENCODING, _ENCODING})
_UNENCODED = frozenset({b"7bit", b"8bit", b"binary"})
_IDENTITY = b"identity"
_PARAMETER = re.compile(
    rb"""[ \t]*+([^\s=;"]*+)[ \t]*+"""
    rb"""(?:=[ \t]*+("(?:[^"\\]|\\.)*+"(?=[ \t]*+(?:;|$))|"[^"]*+"|[^;"]*+)[ \t]*+)?(?:;|$)""",
    re.DOTALL,
)
"""A parameter name and its value: in quotes with backslash escapes, in plain quotes, or bare.

The quantifiers are possessive (`*+`): with backtracking, runs of blanks would take cubic time.
"""
_BACKSLASHED = re.compile(rb'\\(["\\])')
_PERCENT = re.compile("%(22|0D|0A)", re.IGNORECASE)
"""The three characters that browsers and SDKs percent-encode in a name (WHATWG HTML, multipart/form-data)."""
_EXTENDED = re.compile(rb"utf-8'[^']*'((?:[^%]|%[0-9a-f]{2})*)", re.IGNORECASE | re.DOTALL)
"""A name in the notation of RFC 8187: charset, language and the name itself."""
_WORD = re.compile(r"=\?([\w-]{1,20})(?:\*[\w-]*)?\?([BQ])\?([^? ]*)\?=", re.IGNORECASE | re.ASCII)
_WORDS = re.compile(rf"{_WORD.pattern}([ \t]+{_WORD.pattern})*", re.IGNORECASE | re.ASCII)
"""A name that consists only of encoded words (RFC 2047)."""
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})
_NOT_ENCODED_WORD = "it is not an encoded word in UTF-8 or ISO-8859-1"


class PartHeaders:
    """The parsed headers of a part.

    InvalidRequestError for headers that are not clear: one that is given twice, a part without a
    name, text that is not UTF-8, and encoded content.
    """

    def __init__(self, headers: Headers) -> None:
        self._headers: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in self._headers and name in _READ:
                raise malformed(f"a part has the header {name.decode()} twice")
            self._headers[name] = value

    def names(self) -> tuple[str, str | None]:
        """Return the name of the part and the name of its file, None if no file name is given."""
        disposition, parameters = _parse_header(self._headers.get(_DISPOSITION, b""))
        starred = {name: parameters.pop(name) for name in list(parameters) if b"*" in name}
        exact = starred.pop(b"filename*", None)
        if starred:
            raise malformed("a part's Content-Disposition has an extended parameter other than filename*")
        name = _unescape(decode_text(_unquote(parameters.get(b"name", b"")), "a part's name"))
        if disposition != b"form-data" or not name:
            raise malformed("a part has no name")
        return name, _filename(parameters.get(b"filename"), exact)

    def content_type(self) -> str | None:
        """Return the media type of the part's content, None if it is not given."""
        return decode_text(self._headers.get(_TYPE, b"").rstrip(), "a part's content type") or None

    def check_encoding(self) -> None:
        """Raise InvalidRequestError for encoded content, which would be stored in its encoding, unnoticed."""
        if self._headers.get(_TRANSFER_ENCODING, b"binary").strip().lower() not in _UNENCODED:
            raise malformed("a part has a Content-Transfer-Encoding; send its bytes as they are")
        if self._headers.get(_ENCODING, _IDENTITY).strip().lower() != _IDENTITY:
            raise malformed("a part has a Content-Encoding; send its bytes uncompressed")


def boundary_of(content_type: str) -> bytes:
    """Return the boundary in a form's content type."""
    if len(content_type) > MAX_FORM_TYPE_LENGTH:
        raise malformed(f"its content type has more than {MAX_FORM_TYPE_LENGTH} characters")
    _, parameters = _parse_header(content_type.encode())
    boundary = _unquote(parameters.get(b"boundary", b""))
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed(f"its content type has no boundary of 1 to {MAX_BOUNDARY_LENGTH} bytes")
    return boundary


def decode_text(value: bytes, what: str) -> str:
    """Return `value` as text. `what` names it in the error."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"{what} is not UTF-8") from error


def _parse_header(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the value of a header, in lower case, and its raw parameters by name."""
    value, _, rest = header.partition(b";")
    parameters: dict[bytes, bytes] = {}
    at = 0
    while at < len(rest):
        found = _PARAMETER.match(rest, at)
        if found is None:
            raise malformed("a header has an invalid parameter")
        at = found.end()
        name = found[1].lower()
        if name in parameters:
            raise malformed("a header has the same parameter twice")
        if name:
            parameters[name] = found[2] or b""
    return value.strip().lower(), parameters


def _unquote(value: bytes) -> bytes:
    """Return a value without its quotes. A backslash only escapes a quote or another backslash."""
    return _BACKSLASHED.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value.rstrip()


def _unescape(name: str) -> str:
    return _PERCENT.sub(lambda found: chr(int(found[1], 16)), name)


def _filename(plain: bytes | None, exact: bytes | None) -> str | None:
    if exact is not None:
        found = _EXTENDED.fullmatch(exact.rstrip())
        if found is None:
            raise invalid("filename", "filename* must be in the notation of RFC 8187, as in UTF-8''na%C3%AFve.txt")
        return _decode_filename(unquote_to_bytes(found[1]))
    if plain is None:
        return None
    name = _decode_filename(_unquote(plain))
    return _decode_words(name) if _WORDS.fullmatch(name) else _unescape(name)


def _decode_words(name: str) -> str:
    """Return the name that encoded words contain."""
    return "".join(_decode_word(*found.groups()) for found in _WORD.finditer(name))


def _decode_word(charset: str, encoding: str, word: str) -> str:
    try:
        raw = b64decode(word, validate=True) if encoding in "Bb" else a2b_qp(word, header=True)
        if charset.lower() not in _CHARSETS:
            raise invalid("filename", _NOT_ENCODED_WORD)
        return raw.decode(charset)
    except (Base64Error, ValueError):
        raise invalid("filename", _NOT_ENCODED_WORD) from None


def _decode_filename(filename: bytes) -> str:
    try:
        return filename.decode()
    except UnicodeDecodeError as error:
        raise invalid("filename", "it is not UTF-8") from error
