"""Which containers are being written to, and which were when.

It is what the cache knows about freshness; what to do with it is left to
`cached`. Moments are counted in writes that have ended.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NewType

from berth.core.errors import BerthError, UpstreamError, UpstreamTimeoutError

MAX_REMEMBERED = 10_000
"""Containers whose last write is remembered; of all others it is the last one that was forgotten."""
SETTLING_SECONDS = 60
"""How long a write may still take effect after it ended without an answer."""


Place = NewType("Place", int)
"""A tenant's container, which need not exist. Two that fell together would only seem to be written to more often."""


def place_of(tenant: str, container_id: str) -> Place:
    """Return the place of a container; it is small however long the id is that somebody made up."""
    return Place(hash((tenant, container_id)))


class Writes:
    """Remembers the writes to containers, in bounded memory; `now` gives seconds since 1970.

    `moment` is the present one.
    """

    def __init__(self, now: Callable[[], int], *, max_remembered: int = MAX_REMEMBERED) -> None:
        self.moment = 0
        self._now = now
        self._max_remembered = max_remembered
        self._last: dict[Place, int] = {}  # the longest ago first
        self._forgotten = 0
        self._under_way: dict[Place, int] = {}
        self._settled_at: dict[Place, int] = {}  # the soonest first

    def last(self, place: Place) -> int | None:
        """Return the last moment at which `place` may have changed; None if it may be changing now."""
        if place in self._under_way:
            return None
        if place in self._settled_at and self._now() < self._settled_at[place]:
            return None
        return self._last.get(place, self._forgotten)

    @contextmanager
    def writing(self, place: Place) -> Iterator[None]:
        """Note that a write to `place` runs within.

        One that is cut off, or fails in a way that does not tell whether it
        happened, may happen yet: `place` may be changing until it has settled.
        """
        self._under_way[place] = self._under_way.get(place, 0) + 1
        try:
            yield
        except BaseException as error:
            if not _is_refusal(error):
                self._doubt(place)
            raise
        finally:
            self._end(place)

    def _end(self, place: Place) -> None:
        self._under_way[place] -= 1
        if not self._under_way[place]:
            del self._under_way[place]
        self._mark(place)

    def _mark(self, place: Place) -> None:
        self.moment += 1
        self._last.pop(place, None)
        self._last[place] = self.moment
        if len(self._last) > self._max_remembered:
            self._forgotten = self._last.pop(next(iter(self._last)))

    def _doubt(self, place: Place) -> None:
        now = self._now()
        self._settled_at.pop(place, None)
        self._settled_at[place] = now + SETTLING_SECONDS
        while next(iter(self._settled_at.values())) <= now or len(self._settled_at) > self._max_remembered:
            del self._settled_at[next(iter(self._settled_at))]


def _is_refusal(error: BaseException) -> bool:
    """Return whether `error` says that nothing was written."""
    return isinstance(error, BerthError) and not isinstance(error, UpstreamError | UpstreamTimeoutError)
