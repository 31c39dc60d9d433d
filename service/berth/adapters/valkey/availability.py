"""Notes whether a server responds: logs it, and pauses requests after a failure."""

import time

from redis.exceptions import RedisError
from structlog.typing import FilteringBoundLogger

from berth.adapters.valkey.link import LostError

PAUSE_SECONDS = 1.0
"""How long no request is sent after the server did not respond."""
FAILURES = (RedisError, LostError)
"""What a request to the server may raise."""


class Availability:
    """Whether a server responds. Logs NAME.unavailable, with `fields`, and NAME.available, once each."""

    def __init__(self, name: str, log: FilteringBoundLogger, **fields: object) -> None:
        self._name = name
        self._log = log
        self._fields = fields
        self._is_away = False
        self._paused_until = 0.0

    @property
    def is_paused(self) -> bool:
        """Whether the server failed so recently that no call should wait for it."""
        return time.monotonic() < self._paused_until

    def note_failure(self, error: BaseException) -> None:
        """Note that the server has not responded, or has refused a request."""
        self._paused_until = time.monotonic() + PAUSE_SECONDS
        if not self._is_away:
            cause = (error.__cause__ if isinstance(error, LostError) else None) or error
            self._log.error(f"{self._name}.unavailable", reason=type(cause).__name__, **self._fields)
        self._is_away = True

    def note_success(self) -> None:
        """Note that the server has responded."""
        if self._is_away:
            self._log.info(f"{self._name}.available")
        self._is_away = False
