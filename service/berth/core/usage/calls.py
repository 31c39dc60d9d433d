"""Counts calls and their bytes in memory, and stores them in batches."""

import asyncio
from collections.abc import Callable
from contextvars import Context

from berth.core.background import create_detached
from berth.core.caller import Caller
from berth.core.errors import StorageError
from berth.core.ports.usage_store import CallCounts, CallsOf, UsageStore
from berth.core.usage.minutes import day_of

FLUSH_SECONDS = 0.8
"""How long counts stay in memory: a kill loses them."""
MAX_COUNTERS = 10_000
"""How many keys, providers and days are counted at a time; only while the store fails there may be that many."""
_Fields = tuple[str, str, str, int, bool]
"""The fields of a CallsOf, as a plain tuple: it is made for each call."""


class CallCounter:
    """Counts calls, and adds them to `store` every `flush_seconds`; `now` returns seconds since 1970.

    `report` is given the reason when the store begins to fail. The counts are kept, and stored later.
    """

    def __init__(
        self,
        store: UsageStore,
        *,
        now: Callable[[], int],
        report: Callable[[str], None],
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._store = store
        self._now = now
        self._report = report
        self._flush_seconds = flush_seconds
        self._counts: dict[_Fields, list[int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._is_failing = False

    def count(self, caller: Caller, provider: str | None, *, bytes_in: int, bytes_out: int) -> None:
        """Count a call of `caller` about a provider, or about none."""
        of = (caller.tenant, caller.name, provider or "", day_of(self._now()), caller.direct_key is not None)
        self._add(of, 1, bytes_in, bytes_out)
        if self._timer is None:
            self._start_timer()

    async def close(self) -> None:
        """Store what was counted."""
        if self._flushing is not None:
            await self._flushing
        if self._timer is not None:
            self._timer.cancel()
        await self._flush()

    def _add(self, of: _Fields, calls: int, bytes_in: int, bytes_out: int) -> None:
        counts = self._counts.get(of)
        if counts is not None:
            counts[0] += calls
            counts[1] += bytes_in
            counts[2] += bytes_out
        elif len(self._counts) < MAX_COUNTERS:
            self._counts[of] = [calls, bytes_in, bytes_out]

    def _start_timer(self) -> None:
        """Flush later, outside of the trace of the call that happens to be the first."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._flush_seconds, self._start_flush, context=Context())

    def _start_flush(self) -> None:
        self._flushing = create_detached(self._flush_and_go_on())

    async def _flush_and_go_on(self) -> None:
        try:
            await self._flush()
        finally:
            self._flushing = self._timer = None
            if self._counts:
                self._start_timer()

    async def _flush(self) -> None:
        counted, self._counts = self._counts, {}
        if not counted:
            return
        try:
            await self._store.count_calls({CallsOf(*of): CallCounts(*counts) for of, counts in counted.items()})
        except StorageError as error:
            if not self._is_failing:
                self._report(error.message)
            self._is_failing = True
            for of, counts in counted.items():
                self._add(of, *counts)
        else:
            self._is_failing = False
