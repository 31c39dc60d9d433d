"""Parses and formats times and durations."""

import re
from datetime import UTC, datetime

from berth.launch.refusal import StartError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)


def parse_time(text: str, now: int, *, option: str) -> int:
    """Return a time in seconds since 1970-01-01 UTC; `text` is a duration after `now`, or a time with its zone."""
    if _DURATION.fullmatch(text):
        return now + parse_duration(text, option)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise StartError(f"{option}: must be a duration such as 90d, or a time such as 2030-01-01T00:00:00Z")
    return int(parsed.timestamp())


def parse_duration(text: str, option: str) -> int:
    """Return the number of seconds in a duration."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise StartError(f"{option}: must be a duration such as 30m, 24h or 90d")
    return int(match[1]) * _SECONDS[match[2]]


def format_time(at: int | None) -> str | None:
    """Return a time, in seconds since 1970-01-01 UTC, in ISO 8601; None for None."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
