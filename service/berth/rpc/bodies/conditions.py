"""Conditions of REST downloads: ETags, dates and ranges (RFC 9110, sections 13 and 14)."""

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
_MAX_POSITION = 10**18
"""More bytes than any file has."""
_ETAG = re.compile(r'(?:W/)?"[^"]*"')
_ANY = "*"


class ByteRange(NamedTuple):
    """A range of a file, from byte `first` to byte `last` inclusive; `last` None means the end of the file.

    If `first` is None, it is the last `last` bytes of the file.
    """

    first: int | None
    last: int | None


def read_range(headers: Mapping[str, str]) -> ByteRange | None:
    """Return the requested range, or None if the whole file must be sent.

    The whole file is sent without a range, for several ranges, and for a malformed range.
    """
    found = _ONE_RANGE.fullmatch(headers.get(RANGE, ""))
    if found is None:
        return None
    first, last = (_parse_position(digits) if digits else None for digits in found.groups())
    backwards = first is not None and last is not None and last < first
    return None if backwards or (first is None and last is None) else ByteRange(first, last)


def _parse_position(digits: str) -> int:
    return int(digits) if len(digits) < len(str(_MAX_POSITION)) else _MAX_POSITION


def require_match(headers: Mapping[str, str], content: Content) -> None:
    """Raise PreconditionFailedError if there is an If-Match header that does not match the file's ETag."""
    wanted = headers.get(IF_MATCH)
    if wanted is not None and not _matches(wanted, content.etag, strongly=True):
        raise PreconditionFailedError("The ETag of the file does not match If-Match.", param="If-Match")


def is_unchanged(headers: Mapping[str, str], content: Content) -> bool:
    """Return whether the caller already has the file, by its ETag or else by its date."""
    known = headers.get(IF_NONE_MATCH)
    if known is not None:
        return _matches(known, content.etag, strongly=False)
    since = _parse_date(headers.get(IF_MODIFIED_SINCE, ""))
    return None not in (since, content.modified_at) and content.modified_at <= since  # type: ignore[operator] # checked


def knows_etag(headers: Mapping[str, str], etag: str) -> bool:
    """Return whether an If-None-Match header says that the caller has what has this `etag`."""
    known = headers.get(IF_NONE_MATCH)
    return known is not None and _matches(known, etag, strongly=False)


def allows_range(headers: Mapping[str, str], content: Content) -> bool:
    """Return whether part of the file may be sent: not if If-Range shows that the file has changed."""
    known = headers.get(IF_RANGE)
    if known is None:
        return True
    if known.startswith(('"', "W/")):
        return _matches(known, content.etag, strongly=True)
    return content.modified_at is not None and _parse_date(known) == content.modified_at


def _matches(header: str, etag: str | None, *, strongly: bool) -> bool:
    """Return whether `header` is "*" or lists `etag`. With `strongly`, a weak ETag never matches."""
    if header.strip() == _ANY:
        return True
    if etag is None or (strongly and etag.startswith("W/")):
        return False
    listed = _ETAG.findall(header)
    return etag in listed if strongly else _strip_weakness(etag) in map(_strip_weakness, listed)


def _strip_weakness(etag: str) -> str:
    return etag.removeprefix("W/")


def _parse_date(date: str) -> int | None:
    try:
        return int(parsedate_to_datetime(date).timestamp())
    except (ValueError, OverflowError):
        return None
