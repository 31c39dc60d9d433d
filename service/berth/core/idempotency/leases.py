"""The claims that this process works on, and how it keeps them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from berth.core.errors import BerthError
from berth.core.idempotency.records import LEASE_SECONDS, Claim, IdempotencyStore

ATTEMPT = ("", 32)
OWNER = ("", 32)
T = TypeVar("T")


class Claims:
    """The claims that this process works on: keeps their leases alive as long as there are any.

    `now` gives seconds since 1970, `sleep` waits for a number of seconds,
    `keep_seconds` is how long an outcome is kept.
    """

    def __init__(
        self,
        store: IdempotencyStore,
        *,
        keep_seconds: int,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.now = now
        self.owner = new_id(*OWNER)
        self._keep_seconds = keep_seconds
        self._new_id = new_id
        self._sleep = sleep
        self._running = 0
        self._renewing: asyncio.Task[None] | None = None

    def new(self, operation: str, fingerprint: bytes | None) -> Claim:
        """Return a claim of this process, to be put into a slot."""
        now = self.now()
        return Claim(
            operation,
            attempt=self._new_id(*ATTEMPT),
            owner=self.owner,
            lease_until=now + LEASE_SECONDS,
            expires_at=now + self._keep_seconds,
            fingerprint=fingerprint,
        )

    async def working(self, work: Awaitable[T]) -> T:
        """Return what comes of `work`, and renew leases meanwhile."""
        self._running += 1
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
        try:
            return await work
        finally:
            self._running -= 1
            if not self._running:
                self._renewing.cancel()
                self._renewing = None

    async def _renew(self) -> None:
        while True:
            await self._sleep(LEASE_SECONDS / 3)
            try:
                await self.store.renew(self.owner, lease_until=self.now() + LEASE_SECONDS)
            except BerthError:
                continue  # the lease has time for another try
