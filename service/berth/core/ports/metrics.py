"""Metrics: the port through which what happens is counted.

Nothing that a caller can make up becomes a label: the values are few, known
names, and never a secret, a tenant or an id.
"""

from typing import Protocol


class Metrics(Protocol):
    """Counts. No method fails, and none waits."""

    def call_began(self) -> None:
        """Count a call that begins."""

    def call_ended(self, request_type: str, *, provider: str | None, status: str, seconds: float) -> None:
        """Count a call that has ended with `status`, the name of a gRPC status, after `seconds`."""

    def cache_asked(self, provider: str, *, hit: bool) -> None:
        """Count a call that asked the cache, and whether the answer was there."""

    def try_ended(self, provider: str, *, status: int, seconds: float) -> None:
        """Count a request to a provider: the HTTP status of its answer, 0 if none came, after `seconds`."""

    def key_put_aside(self, provider: str, *, key: str) -> None:
        """Count that a configured key, by its name, was refused and is put aside."""
