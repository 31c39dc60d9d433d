"""Metrics: the port for counting calls, cache lookups and requests to providers.

Label values are a small set of known names. Text from callers, secrets, tenants and ids never
become labels.
"""

from typing import Protocol


class Metrics(Protocol):
    """Counts events. No method raises an error, and none waits."""

    def call_began(self) -> None:
        """Count the start of a call."""

    def call_ended(self, request_type: str, *, provider: str | None, status: str, seconds: float) -> None:
        """Count the end of a call with `status`, the name of a gRPC status, after `seconds`."""

    def cache_asked(self, provider: str, *, hit: bool) -> None:
        """Count a cache lookup, and whether it was a hit."""

    def try_ended(self, provider: str, *, status: int, seconds: float) -> None:
        """Count an HTTP request to a provider that took `seconds`; `status` is 0 if there was no response."""

    def key_put_aside(self, provider: str, *, key: str) -> None:
        """Count that the configured key with the name `key` was rejected and is put aside."""
