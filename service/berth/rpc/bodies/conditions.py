"""What a REST download is made to depend on: ETags, dates and ranges (RFC 9110, sections 13 and 14)."""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from berth.core.errors import PreconditionFailedError
from berth.core.ports.backend import Content

IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE = "if-match", "if-none-match", "if-modified-since"
RANGE, IF_RANGE = "range", "if-range"
HEADERS = frozenset({IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE, IF_RANGE})

_ONE_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII | re.IGNORECASE)
_BEYOND_ALL = 10**18
"""More bytes than any file has."""
_ETAG = re.compile(r'(?:W/)?"[^"]*"')
_ANY = "*"


class ByteRange(NamedTuple):
    """A range of a file: from the byte `first` to the byte `last`, which None leaves open.

    Without `first` it is the `last` bytes of the file.
    """

    first: int | None
    last: int | None


def read_range(headers: Mapping[str, str]) -> ByteRange | None:
    """Return the range that is asked for; None for none, for several, and for what cannot be read: all are whole."""
    found = _ONE_RANGE.fullmatch(headers.get(RANGE, ""))
    if found is None:
        return None
    first, last = (_position(digits) if digits else None for digits in found.groups())
    backwards = first is not None and last is not None and last < first
    return None if backwards or (first is None and last is None) else ByteRange(first, last)


def _position(digits: str) -> int:
    return int(digits) if len(digits) < len(str(_BEYOND_ALL)) else _BEYOND_ALL


def require_match(headers: Mapping[str, str], content: Content) -> None:
    """Raise PreconditionFailedError if the file must have one of several ETags and has none of them."""
    wanted = headers.get(IF_MATCH)
    if wanted is not None and not _names(wanted, content.etag, strongly=True):
        raise PreconditionFailedError("The file is not the one that If-Match names.", param="If-Match")


def is_unchanged(headers: Mapping[str, str], content: Content) -> bool:
    """Tell whether the caller has the file already, by its ETag or else by its date."""
    known = headers.get(IF_NONE_MATCH)
    if known is not None:
        return _names(known, content.etag, strongly=False)
    since = _moment(headers.get(IF_MODIFIED_SINCE, ""))
    return None not in (since, content.modified_at) and content.modified_at <= since  # type: ignore[operator] # neither is None


def allows_range(headers: Mapping[str, str], content: Content) -> bool:
    """Tell whether a part of the file may be sent: if it is still the file that the caller has a part of."""
    known = headers.get(IF_RANGE)
    if known is None:
        return True
    if known.startswith(('"', "W/")):
        return _names(known, content.etag, strongly=True)
    return content.modified_at is not None and _moment(known) == content.modified_at


def _names(header: str, etag: str | None, *, strongly: bool) -> bool:
    """Tell whether `header` is a star or names `etag`; a weak ETag is never `strongly` the same."""
    if header.strip() == _ANY:
        return True
    if etag is None or (strongly and etag.startswith("W/")):
        return False
    listed = _ETAG.findall(header)
    return etag in listed if strongly else _opaque(etag) in map(_opaque, listed)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")


def _moment(date: str) -> int | None:
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None
