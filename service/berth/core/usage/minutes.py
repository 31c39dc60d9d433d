"""Counts the minutes of containers and the bytes that are stored, by UTC day.

Times are seconds since 1970, days are days since 1970. A minute of a container begins a whole number of minutes after
its creation, and belongs to the day in which it begins.
"""

from collections.abc import Iterator

DAY_SECONDS = 86_400
MINUTE_SECONDS = 60
MINIMUM_MINUTES = 5
"""The minutes that are billed at least for a container; they belong to the day of its creation."""
UNKNOWN_EXPIRY_MINUTES = 20
"""The idle minutes of a container if its provider does not report them."""
MAX_CLOCK_SECONDS = DAY_SECONDS
"""By how much a provider's clock may differ: a creation time further away is not believed."""


def day_of(moment: int) -> int:
    """Return the day of a time."""
    return moment // DAY_SECONDS


def start_of_meter(created_at: int, now: int) -> int:
    """Return when the first minute of a container begins that its backend says was created at `created_at`.

    It begins today, by the clock that tells `now`, and not later than now: with a time of another day, a new container
    would not be charged to the budget of the period in which it is created.
    """
    if abs(created_at - now) > MAX_CLOCK_SECONDS:
        return now
    return min(now, max(created_at, now - now % DAY_SECONDS))


def minutes_begun(start: int, end: int) -> int:
    """Return how many minutes of a container have begun between `start` and `end`, at least one."""
    return max(1, -(-(end - start) // MINUTE_SECONDS))


def minutes_by_day(start: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the days of the minutes number `first` up to `end`, which is excluded, and how many begin in each.

    The minutes of a container that was created at `start` are counted from 0.
    """
    while first < end:
        day = day_of(start + first * MINUTE_SECONDS)
        until = min(end, -(-((day + 1) * DAY_SECONDS - start) // MINUTE_SECONDS))
        yield day, until - first
        first = until


def seconds_by_day(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the days between `start` and `end`, and how many of these seconds are in each."""
    while start < end:
        day = day_of(start)
        until = min(end, (day + 1) * DAY_SECONDS)
        yield day, until - start
        start = until
