"""Bound the answers that tenants have not read yet: the service holds them until then."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from berth.core.errors import RateLimitError
from berth.rpc.call import Call, Handler, Interceptor

MAX_UNREAD_BYTES = 128 * 1024 * 1024
"""How much a tenant may have that it does not read. An answer has up to 13 MiB, mostly a few KiB."""
CALL_BYTES = 16 * 1024
"""What an answer counts for besides its own bytes: grpc keeps several KiB for each call that is not over."""
_READ = "read"


class UnreadAnswers:
    """Counts the bytes of answers that are being sent to each tenant."""

    def __init__(self, maximum: int = MAX_UNREAD_BYTES) -> None:
        self._maximum = maximum
        self._bytes: dict[str, int] = {}

    def check(self, tenant: str) -> None:
        """Raise RateLimitError (`request_limited`) if a tenant has too many already."""
        if self._bytes.get(tenant, 0) >= self._maximum:
            message = "Too many large answers wait to be read: read them, or close their connections."
            raise RateLimitError(message, code="request_limited", retry_after_seconds=1)

    def add(self, tenant: str, size: int) -> None:
        """Count an answer of `size` bytes."""
        self._bytes[tenant] = self._bytes.get(tenant, 0) + size

    def remove(self, tenant: str, size: int) -> None:
        """Count it no more."""
        left = self._bytes[tenant] - size
        if left:
            self._bytes[tenant] = left
        else:
            del self._bytes[tenant]

    @contextmanager
    def sending(self, tenant: str, size: int) -> Iterator[None]:
        """Count an answer of `size` bytes until the context ends."""
        self.add(tenant, size)
        try:
            yield
        finally:
            self.remove(tenant, size)


def unread_interceptor(unread: UnreadAnswers) -> Interceptor:
    """Return the interceptor that counts the answers which are no streams, until their callers have read them.

    A caller may start many calls before the first answer is there, so what only reads is also refused at its end.
    """

    def intercept(next_handler: Handler) -> Handler:
        async def handler(message: Any, call: Call) -> Any:
            tenant = call.caller.tenant
            unread.check(tenant)
            response = await next_handler(message, call)
            if response is not None:
                if call.method.operation.kind == _READ:
                    unread.check(tenant)
                size = CALL_BYTES + response.ByteSize()
                unread.add(tenant, size)
                call.context.when_sent(partial(unread.remove, tenant, size))
            return response

        return handler

    return intercept
