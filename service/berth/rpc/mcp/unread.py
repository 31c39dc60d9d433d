"""Bound the answers that tenants have not read yet: the service holds them until then."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from berth.core.errors import RateLimitError

MAX_UNREAD_BYTES = 128 * 1024 * 1024
"""How much a tenant may have that it does not read. An answer has up to 13 MiB, mostly a few KiB."""


class UnreadAnswers:
    """Counts the bytes of answers that are being sent to each tenant."""

    def __init__(self, maximum: int = MAX_UNREAD_BYTES) -> None:
        self._maximum = maximum
        self._bytes: Counter[str] = Counter()

    def check(self, tenant: str) -> None:
        """Raise RateLimitError (`request_limited`) if a tenant has too many already."""
        if self._bytes[tenant] >= self._maximum:
            message = "Too many large answers wait to be read: read them, or close their connections."
            raise RateLimitError(message, code="request_limited", retry_after_seconds=1)

    @contextmanager
    def sending(self, tenant: str, size: int) -> Iterator[None]:
        """Count an answer of `size` bytes until the context ends."""
        self._bytes[tenant] += size
        try:
            yield
        finally:
            self._bytes[tenant] -= size
            if not self._bytes[tenant]:
                del self._bytes[tenant]
