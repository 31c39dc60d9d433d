"""UpstreamResponse: an HTTP response of a provider, not yet interpreted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time

import orjson
from aiohttp import ClientResponse

_MAX_RETRY_AFTER_SECONDS = 2_592_000.0
"""Thirty days: a longer Retry-After is shortened to this."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """A response, either with its complete body or, if that is still unread, with `stream`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    stream: ClientResponse | None = None

    @property
    def is_good(self) -> bool:
        """Whether the status is a success (2xx)."""
        return is_success(self.status)

    @property
    def retry_after(self) -> float | None:
        """The seconds in the Retry-After header, None if it is missing or invalid."""
        seconds = _seconds(self.headers.get("Retry-After"))
        return None if seconds is None else min(seconds, _MAX_RETRY_AFTER_SECONDS)

    def json(self) -> object:
        """Return the JSON value of the body. ValueError if it is not JSON."""
        return orjson.loads(self.body)


def is_success(status: int) -> bool:
    """Return whether an HTTP status is a success (2xx)."""
    return 200 <= status < 300  # noqa: PLR2004 - the successful statuses of HTTP


def _seconds(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _seconds_until(header)
    return max(0.0, seconds) if isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    moment = timestamp(date)
    return None if moment is None else max(0.0, moment - time())


def timestamp(date: str) -> float | None:
    """Return an HTTP date in seconds since 1970, None if it is invalid or not of the years 1 to 9999 in UTC."""
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
