"""Tracks writes to containers in this process, so that a cache can tell which answers are out of date.

Moments are counted in writes that have ended.
"""

from collections.abc import Callable
from typing import NewType

from berth.core.caching.settling import SETTLING_SECONDS

MAX_REMEMBERED = 10_000
"""Containers with a remembered last write; all others get the last write that was forgotten."""


Place = NewType("Place", int)
"""The hash of a tenant and a container id. Containers with the same hash only seem to be written more often."""


def place_of(tenant: str, container_id: str) -> Place:
    """Return the place of a container; its size does not depend on the length of the id, which callers choose."""
    return Place(hash((tenant, container_id)))


class Writes:
    """Remembers the writes to containers, in bounded memory.

    `now` returns seconds. `moment` is the current moment.
    """

    def __init__(self, now: Callable[[], float], *, max_remembered: int = MAX_REMEMBERED) -> None:
        self.moment = 0
        self._now = now
        self._max_remembered = max_remembered
        self._last: dict[Place, int] = {}  # oldest first
        self._forgotten = 0
        self._running: dict[Place, int] = {}
        self._settled_at: dict[Place, float] = {}  # earliest first

    def last(self, place: Place) -> int | None:
        """Return the last moment at which `place` may have changed; None if it may be changing now."""
        if place in self._running:
            return None
        if place in self._settled_at and self._now() < self._settled_at[place]:
            return None
        return self._last.get(place, self._forgotten)

    def begin(self, place: Place) -> None:
        """Record that a write to `place` begins."""
        self._running[place] = self._running.get(place, 0) + 1

    def end(self, place: Place, *, is_settled: bool) -> None:
        """Record that a write to `place` has ended.

        If it is not settled, `place` counts as changing for another SETTLING_SECONDS.
        """
        if not is_settled:
            self._mark_unsettled(place)
        self._running[place] -= 1
        if not self._running[place]:
            del self._running[place]
        self._mark(place)

    def _mark(self, place: Place) -> None:
        self.moment += 1
        self._last.pop(place, None)
        self._last[place] = self.moment
        if len(self._last) > self._max_remembered:
            self._forgotten = self._last.pop(next(iter(self._last)))

    def _mark_unsettled(self, place: Place) -> None:
        now = self._now()
        self._settled_at.pop(place, None)
        self._settled_at[place] = now + SETTLING_SECONDS
        while next(iter(self._settled_at.values())) <= now or len(self._settled_at) > self._max_remembered:
            del self._settled_at[next(iter(self._settled_at))]
