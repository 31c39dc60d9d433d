"""The headers of a multipart form and of its parts: the boundary, what a part is called, and what its file is.

File names come in four notations: as they are, with the escapes of browsers
(WHATWG HTML) or backslashes before quotes, as an encoded word (RFC 2047, older
mail libraries), and as `filename*` (RFC 8187, .NET), which counts where both
are given: it has the exact name where `filename` is a makeshift (RFC 6266).
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from binascii import a2b_qp
from urllib.parse import unquote_to_bytes

from berth.core.validation import invalid
from berth.rpc.bodies.multipart import Headers, malformed

MAX_FORM_TYPE_LENGTH = 1024
"""Room for the content type of a form: a boundary, and what else clients say of it."""
MAX_BOUNDARY_LENGTH = 256
_BOUNDARY = re.compile(rb"[^\x00-\x1f\x7f]{1,%d}" % MAX_BOUNDARY_LENGTH)
_DISPOSITION, _TYPE = b"content-disposition", b"content-type"
_TRANSFER_ENCODING, _ENCODING = b"content-transfer-encoding", b"content-encoding"
_READ = frozenset({_DISPOSITION, _TYPE, _TRANSFER_ENCODING, _ENCODING})
_AS_IT_IS = frozenset({b"7bit", b"8bit", b"binary"})
_IDENTITY = b"identity"
_OPTION = re.compile(
    rb"""[ \t]*+([^\s=;"]*+)[ \t]*+"""
    rb"""(?:=[ \t]*+("(?:[^"\\]|\\.)*+"(?=[ \t]*+(?:;|$))|"[^"]*+"|[^;"]*+)[ \t]*+)?(?:;|$)""",
    re.DOTALL,
)
"""A name and its value: in quotes with backslashes, in quotes as it is, or bare.

The quantifiers are possessive (`*+`): with backtracking, runs of blanks would take cubic time.
"""
_BACKSLASHED = re.compile(rb'\\(["\\])')
_PERCENT = re.compile("%(22|0D|0A)", re.IGNORECASE)
"""The three characters that browsers and SDKs write in a name's stead (WHATWG HTML, multipart/form-data)."""
_EXTENDED = re.compile(rb"utf-8'[^']*'((?:[^%]|%[0-9a-f]{2})*)", re.IGNORECASE | re.DOTALL)
"""A name in the notation of RFC 8187: its charset, its language, and itself."""
_WORD = re.compile(r"=\?([\w-]{1,20})(?:\*[\w-]*)?\?([BQ])\?([^? ]*)\?=", re.IGNORECASE | re.ASCII)
_WORDS = re.compile(rf"{_WORD.pattern}([ \t]+{_WORD.pattern})*", re.IGNORECASE | re.ASCII)
"""A name that is wholly encoded words (RFC 2047)."""
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})
_NO_ENCODED_WORD = "it is no encoded word in UTF-8 or ISO-8859-1"


class PartHeaders:
    """What the headers of a part say.

    InvalidRequestError for headers that say nothing clear: one that is given
    twice, a part without a name, bytes that are no UTF-8 or are encoded.
    """

    def __init__(self, headers: Headers) -> None:
        self._headers: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in self._headers and name in _READ:
                raise malformed(f"a part has the header {name.decode()} twice")
            self._headers[name] = value

    def names(self) -> tuple[str, str | None]:
        """Return what the part is called, and what its file is called, None if that is not said."""
        disposition, options = _parsed(self._headers.get(_DISPOSITION, b""))
        starred = {name: options.pop(name) for name in list(options) if b"*" in name}
        exact = starred.pop(b"filename*", None)
        if starred:
            raise malformed("a part's Content-Disposition has a starred option other than filename*")
        name = _unescaped(text(_unquoted(options.get(b"name", b"")), "a part's name"))
        if disposition != b"form-data" or not name:
            raise malformed("a part has no name")
        return name, _filename(options.get(b"filename"), exact)

    def content_type(self) -> str | None:
        """Return the media type of the part's content, None if it is not said."""
        return text(self._headers.get(_TYPE, b"").rstrip(), "a part's content type") or None

    def check_encoding(self) -> None:
        """Check that the content stands there as it is: what is encoded would be kept encoded, unnoticed."""
        if self._headers.get(_TRANSFER_ENCODING, b"binary").strip().lower() not in _AS_IT_IS:
            raise malformed("a part has a Content-Transfer-Encoding; send its bytes as they are")
        if self._headers.get(_ENCODING, _IDENTITY).strip().lower() != _IDENTITY:
            raise malformed("a part has a Content-Encoding; send its bytes uncompressed")


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a form's content type tells."""
    if len(content_type) > MAX_FORM_TYPE_LENGTH:
        raise malformed(f"its content type has more than {MAX_FORM_TYPE_LENGTH} characters")
    _, options = _parsed(content_type.encode())
    boundary = _unquoted(options.get(b"boundary", b""))
    if not _BOUNDARY.fullmatch(boundary):
        raise malformed(f"its content type has no boundary of 1 to {MAX_BOUNDARY_LENGTH} bytes")
    return boundary


def text(value: bytes, what: str) -> str:
    """Return `value` as text; `what` it is stands in the error."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"{what} is not UTF-8") from error


def _parsed(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return the value of a header, in lower case, and its options as they stand there, by name."""
    value, _, rest = header.partition(b";")
    options: dict[bytes, bytes] = {}
    at = 0
    while at < len(rest):
        found = _OPTION.match(rest, at)
        if found is None:
            raise malformed("a header has an option that is none")
        at = found.end()
        name = found[1].lower()
        if name in options:
            raise malformed("a header gives the same option twice")
        if name:
            options[name] = found[2] or b""
    return value.strip().lower(), options


def _unquoted(value: bytes) -> bytes:
    """Return a value without its quotes. Only a quote and a backslash are ever escaped with a backslash."""
    return _BACKSLASHED.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value.rstrip()


def _unescaped(name: str) -> str:
    return _PERCENT.sub(lambda found: chr(int(found[1], 16)), name)


def _filename(plain: bytes | None, exact: bytes | None) -> str | None:
    if exact is not None:
        found = _EXTENDED.fullmatch(exact.rstrip())
        if found is None:
            raise invalid("filename", "filename* must be in the notation of RFC 8187, as in UTF-8''na%C3%AFve.txt")
        return _utf8(unquote_to_bytes(found[1]))
    if plain is None:
        return None
    name = _utf8(_unquoted(plain))
    return _decoded_words(name) if _WORDS.fullmatch(name) else _unescaped(name)


def _decoded_words(name: str) -> str:
    """Return a name that is written in encoded words."""
    return "".join(_decoded(*found.groups()) for found in _WORD.finditer(name))


def _decoded(charset: str, encoding: str, word: str) -> str:
    try:
        raw = b64decode(word, validate=True) if encoding in "Bb" else a2b_qp(word, header=True)
        if charset.lower() not in _CHARSETS:
            raise invalid("filename", _NO_ENCODED_WORD)
        return raw.decode(charset)
    except (Base64Error, ValueError):
        raise invalid("filename", _NO_ENCODED_WORD) from None


def _utf8(filename: bytes) -> str:
    try:
        return filename.decode()
    except UnicodeDecodeError as error:
        raise invalid("filename", "it is not UTF-8") from error
