"""Metrics: the port for counting calls, cache lookups and requests to providers.

Label values are a small set of known names. Text from callers, secrets, tenants and ids never
become labels.
"""

from collections.abc import Mapping
from typing import Protocol


class Metrics(Protocol):
    """Counts events. No method raises an error, and none waits."""

    def call_began(self) -> None:
        """Count the start of a call."""

    def call_ended(self, request_type: str, *, provider: str | None, status: str, seconds: float) -> None:
        """Count the end of a call with `status`, the name of a gRPC status, after `seconds`."""

    def bytes_moved(self, request_type: str, *, received: int, sent: int) -> None:
        """Count the bytes of the requests of a call, and of the content that was sent."""

    def call_limited(self, limit: str) -> None:
        """Count a call that was refused because of a limit; `limit` is the code of the error."""

    def store_ended(self, operation: str, *, failed: bool, seconds: float) -> None:
        """Count a read or write of the database that took `seconds`, with the time that it waited for others."""

    def content_ended(self, operation: str, *, failed: bool, seconds: float) -> None:
        """Count an operation on the store of content that took `seconds`."""

    def sweep_ended(self, result: str, removed: Mapping[str, int], *, seconds: float) -> None:
        """Count a sweep that was done, skipped, or failed, and what it removed, by kind."""

    def spans_dropped(self, number: int) -> None:
        """Count spans of traces that were lost because the collector did not take them."""

    def cache_asked(self, provider: str, *, hit: bool) -> None:
        """Count a cache lookup, and whether it was a hit."""

    def try_ended(self, provider: str, *, status: int, seconds: float) -> None:
        """Count an HTTP request to a provider that took `seconds`; `status` is 0 if there was no response."""

    def key_put_aside(self, provider: str, *, key: str) -> None:
        """Count that the configured key with the name `key` was rejected and is put aside."""

    def egress_ended(self, results: Mapping[str, int], *, size: int) -> None:
        """Count the requests to the network of a command that has ended, by result, and the bytes that it moved."""

    def exec_began(self) -> None:
        """Count the start of a command."""

    def exec_ended(self, outcome: str, *, seconds: float) -> None:
        """Count the end of a command that ran for `seconds`; `outcome` is the type of its outcome."""
