"""Bound the answers that tenants have not read yet: the service holds them until then."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
                sending = ExitStack()
                sending.enter_context(unread.sending(tenant, CALL_BYTES + response.ByteSize()))
                call.context.when_sent(sending.close)
            return response

        return handler

    return intercept
