"""Keep floods of calls from filling the log: metrics count all of them, the log has some."""

import random as chance
from collections.abc import Callable
from time import monotonic

LINES_PER_SECOND = 20
"""How many lines per second the log has of callers who are not authenticated."""


class LogSampler:
    """Lets a number of lines per second through, and counts the others; of successful calls a part, `successes`."""

    def __init__(
        self,
        per_second: int = LINES_PER_SECOND,
        timer: Callable[[], float] = monotonic,
        *,
        successes: float = 1.0,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self._successes = successes
        self._random = random
        self._per_second = per_second
        self._timer = timer
        self._began = 0.0
        self._lines = 0
        self._suppressed = 0

    def takes_success(self) -> bool:
        """Return whether a successful call is to be logged."""
        return self._successes >= 1.0 or self._random() < self._successes

    def next_line(self) -> dict[str, int | str] | None:
        """Return the fields to add to a line, or None if it is to be left out.

        `suppressed` is how many lines were left out since the last one.
        """
        now = self._timer()
        if now - self._began >= 1:
            self._began, self._lines = now, 0
        if self._lines >= self._per_second:
            self._suppressed += 1
            return None
        self._lines += 1
        suppressed, self._suppressed = self._suppressed, 0
        return {"suppressed": suppressed} if suppressed else {}
