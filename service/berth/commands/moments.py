"""Times and durations, as people write and read them."""

import re
from datetime import UTC, datetime

from berth.launch.refusal import StartError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)


def moment(text: str, now: int, *, option: str) -> int:
    """Return the time that `text` means, in seconds since 1970: a duration from `now` on, or a time with its zone."""
    if _DURATION.fullmatch(text):
        return now + seconds(text, option)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise StartError(f"{option}: must be a duration such as 90d, or a time such as 2030-01-01T00:00:00Z")
    return int(found.timestamp())


def seconds(text: str, option: str) -> int:
    """Return how many seconds a duration is."""
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise StartError(f"{option}: must be a duration such as 30m, 24h or 90d")
    return int(match[1]) * _SECONDS[match[2]]


def time_text(at: int | None) -> str | None:
    """Return a time, given in seconds since 1970, in words."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
