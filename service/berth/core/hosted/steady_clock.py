"""Notices that the clock was set, so that no sweep deletes what only seems to be expired."""

from collections.abc import Callable

from berth.core.ports.upkeep import SweepClock

STEP_SECONDS = 300
"""How far the clock may move away from the monotonic clock between two looks at it."""
SETTLE_SECONDS = 3_600
"""How long a clock that was set has to stay as it is before it is believed."""


class SteadyClock:
    """Compares the clock `now`, in seconds since 1970, with `monotonic`, which cannot be set.

    After a start the time of the last sweep is all there is to compare with: a clock that is behind it, or more than
    SETTLE_SECONDS ahead of it, counts as set. That is also so after a long pause, and costs no more than an hour.
    """

    def __init__(self, *, now: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self.now = now
        self._monotonic = monotonic
        self._offset: float | None = None
        self._steady_since = 0

    @property
    def has_started(self) -> bool:
        """Whether the clock was looked at before."""
        return self._offset is not None

    def start(self, last: SweepClock | None) -> None:
        """Begin with what the last sweep saw, before a restart; None if there was no sweep yet."""
        now = self.now()
        self._offset = now - self._monotonic()
        if last is not None:
            is_plausible = last.seen_at - STEP_SECONDS <= now <= last.seen_at + SETTLE_SECONDS
            self._steady_since = last.steady_since if is_plausible else now

    def is_steady(self) -> bool:
        """Return whether the clock was not set for SETTLE_SECONDS."""
        now = self.now()
        offset = now - self._monotonic()
        if self._offset is not None and abs(offset - self._offset) > STEP_SECONDS:
            self._steady_since = now
        self._offset = offset
        return now - self._steady_since >= SETTLE_SECONDS

    def seen(self) -> SweepClock:
        """Return what the next start has to know."""
        return SweepClock(self.now(), self._steady_since)
