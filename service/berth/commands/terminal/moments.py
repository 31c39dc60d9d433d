"""Parses and formats times and durations."""

import re
from datetime import UTC, datetime

from berth.core.auth.virtual_keys import LATEST_TIME
from berth.launch.refusal import StartError

MAX_DAYS = 36_500
"""The longest duration."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)


def parse_time(text: str, now: int, *, option: str) -> int:
    """Return a time after `now`, in seconds since 1970-01-01 UTC; `text` is a duration, or a time with its zone."""
    at = now + parse_duration(text, option) if _DURATION.fullmatch(text) else _parse_moment(text, option)
    if at <= now:
        raise StartError(f"{option}: must be in the future, but {text} is not")
    return at


def _parse_moment(text: str, option: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise StartError(f"{option}: must be a duration such as 90d, or a time such as 2030-01-01T00:00:00Z")
    return min(int(parsed.timestamp()), LATEST_TIME)


def parse_duration(text: str, option: str) -> int:
    """Return the number of seconds in a duration."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise StartError(f"{option}: must be a duration such as 30m, 24h or 90d")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_DAYS * _SECONDS["d"]:
        raise StartError(f"{option}: must be at most {MAX_DAYS}d")
    return seconds


def format_time(at: int | None) -> str | None:
    """Return a time, in seconds since 1970-01-01 UTC, in ISO 8601; None for None.

    A time before 1970 or after the year 9999 is written as the nearest one of these years.
    """
    if at is None:
        return None
    return datetime.fromtimestamp(min(max(at, 0), LATEST_TIME), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
