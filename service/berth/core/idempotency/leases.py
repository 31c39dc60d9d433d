"""The leases of this process on idempotency keys, which are renewed while it works on them."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from berth.core.background import BackgroundTasks, create_detached
from berth.core.errors import BerthError
from berth.core.ports.idempotency_store import IdempotencyRecord, IdempotencyStore

ATTEMPT = ("", 32)
OWNER = ("", 32)
LEASE_SECONDS = 15
"""How long a lease is valid unless it is renewed."""
T = TypeVar("T")


class Leases:
    """The leases of this process; each is renewed as long as work on its record is in progress.

    `now` returns seconds since 1970, `sleep` waits for a number of seconds, `keep_seconds` is how
    long an outcome is kept.
    """

    def __init__(
        self,
        store: IdempotencyStore,
        *,
        keep_seconds: int,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        background: BackgroundTasks,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.store = store
        self.now = now
        self.background = background
        self.owner = new_id(*OWNER)
        self._keep_seconds = keep_seconds
        self._new_id = new_id
        self.sleep = sleep
        self._attempts: Counter[str] = Counter()
        self._renewing: asyncio.Task[None] | None = None

    def new_record(self, operation: str, fingerprint: bytes | None) -> IdempotencyRecord:
        """Return a record with a lease of this process, to be stored in a slot."""
        now = self.now()
        return IdempotencyRecord(
            operation,
            attempt=self._new_id(*ATTEMPT),
            owner=self.owner,
            lease_until=now + LEASE_SECONDS,
            expires_at=now + self._keep_seconds,
            fingerprint=fingerprint,
        )

    async def renewed_during(self, work: Awaitable[T], attempt: str) -> T:
        """Return the result of `work` on an attempt; renew the lease of its record until it is finished.

        Only then: if its end could not be stored, the lease has to expire, so that the next request finds out.
        """
        self._attempts[attempt] += 1
        if self._renewing is None:
            self._renewing = create_detached(self._renew())
        try:
            return await work
        finally:
            self._attempts[attempt] -= 1
            if not self._attempts[attempt]:
                del self._attempts[attempt]
            if not self._attempts:
                self._renewing.cancel()
                self._renewing = None

    async def _renew(self) -> None:
        while True:
            await self.sleep(LEASE_SECONDS / 3)
            try:
                await self.store.renew(self.owner, list(self._attempts), lease_until=self.now() + LEASE_SECONDS)
            except BerthError:
                continue  # the lease lasts long enough for another try
