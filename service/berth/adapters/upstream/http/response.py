"""What came back from a provider, before anybody knows what it means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

import orjson
from aiohttp import ClientResponse

_MAX_RETRY_AFTER_SECONDS = 2_592_000.0
"""Thirty days: what says more is no answer to "when"."""


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """An answer: its body whole, or `stream` where it is still to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)
    stream: ClientResponse | None = None

    @property
    def is_good(self) -> bool:
        """Whether the provider did what it was asked to do."""
        return 200 <= self.status < 300  # noqa: PLR2004 - as HTTP has it

    @property
    def retry_after(self) -> float | None:
        """The seconds after which to try again, None if the provider does not say."""
        seconds = _seconds(self.headers.get("Retry-After"))
        return None if seconds is None else min(seconds, _MAX_RETRY_AFTER_SECONDS)

    def json(self) -> object:
        """Return the body's JSON value. ValueError if it is none."""
        return orjson.loads(self.body)


def _seconds(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _seconds_until(header)
    return max(0.0, seconds) if isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
