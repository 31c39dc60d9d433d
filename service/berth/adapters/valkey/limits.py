"""ValkeyLimits: limits counted in Valkey or Redis, for all replicas together.

Each call that runs has a lease in Valkey. Each process renews the leases of its calls; the leases of
a process that died expire soon. Requests of one call arrive in Valkey in the order in which they were
sent, so a call leaves exactly once, also if its entry was not waited for.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.adapters.valkey.availability import FAILURES, PAUSE_SECONDS, Availability
from berth.adapters.valkey.link import Link, LostError
from berth.adapters.valkey.scripts import ENTER, LEAVE, RENEW
from berth.core.auth.rate_limits import Admission, Full, LimitedCounter, Quota
from berth.core.errors import StorageError

LEASE_SECONDS = 30.0
"""How long a call in flight counts without a renewal of its lease."""
PATIENCE_SECONDS = 0.25
"""How long the server may delay a call, from its entry to its end in all: counting must not delay calls."""
UNAVAILABLE = "limits_unavailable"

_PREFIX = "berth:"
_FULL = {b"calls": Full.CALLS, b"requests": Full.REQUESTS}


@dataclass(slots=True)
class _Call:
    """A call that is counted as running; `waited` is for how many seconds the server has delayed it."""

    member: str
    counters: tuple[str, ...]
    link_number: int
    waited: float = 0.0

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that `RENEW` and `LEAVE` take."""
        return f"{_PREFIX}left:{self.member}", *(f"{_PREFIX}calls:{counter}" for counter in self.counters)


class ValkeyLimits:
    """A Limiter on the server at `url` (`redis://`, `rediss://`, `valkey://`, `valkeys://`).

    While the server is unavailable, calls are allowed if `open_when_away`, and refused otherwise.
    `lease_seconds` is how long a call in flight counts without a renewal, `patience_seconds` for how
    long the server may delay a call.
    """

    def __init__(
        self,
        url: str,
        *,
        open_when_away: bool,
        log: FilteringBoundLogger,
        lease_seconds: float = LEASE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._link = Link(url)
        self._open_when_away = open_when_away
        self._lease_seconds = lease_seconds
        self._patience_seconds = patience_seconds
        self._in_flight: dict[str, _Call] = {}
        self._renewing: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._availability = Availability("limits", log, open=open_when_away)

    async def close(self) -> None:
        """Wait a little for the ends of calls to be counted, and close the connection."""
        if self._renewing is not None:
            self._renewing.cancel()
            self._renewing = None
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=self._patience_seconds)
        for task in self._leaving:
            task.cancel()
        await self._link.close()

    async def enter(self, counters: Sequence[LimitedCounter]) -> Admission:
        """Count a call; see Limiter."""
        if not counters:
            return Admission(None, {}, _nothing)
        if self._availability.is_paused:
            return self._fall_back()
        running = tuple(counter.key for counter in counters if counter.in_flight is not None)
        call = _Call(token_hex(16), running, self._link.number)
        try:
            answer = await self._enter(call, counters)
        except BaseException as error:
            self._start_leaving(call)  # the entry may still arrive, or has arrived without a response
            if not isinstance(error, (*FAILURES, TimeoutError)):
                raise
            self._availability.note_failure(error)
            return self._fall_back()
        self._availability.note_success()
        return self._admission(call, counters, answer)

    async def _enter(self, call: _Call, counters: Sequence[LimitedCounter]) -> Any:
        """Return the response to an entry, which is sent once again if the connection was lost."""
        keys = [call.keys[0]]
        arguments: list[Any] = [call.member, self._lease_seconds]
        for counter in counters:
            keys += [f"{_PREFIX}calls:{counter.key}", f"{_PREFIX}requests:{counter.key}"]
            arguments += [-1 if limit is None else limit for limit in (counter.in_flight, counter.per_minute)]
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._patience_seconds):
                try:
                    return await self._link.request("EVAL", ENTER, len(keys), *keys, *arguments)
                except LostError:
                    return await self._link.request("EVAL", ENTER, len(keys), *keys, *arguments)
        finally:
            call.waited = time.monotonic() - started

    def _admission(self, call: _Call, counters: Sequence[LimitedCounter], answer: Any) -> Admission:
        quotas = {
            at: Quota(counter.per_minute, max(0, answer[2 + 2 * at]), answer[3 + 2 * at] / 1000)
            for at, counter in enumerate(counters)
            if counter.per_minute is not None
        }
        if answer[0]:
            return Admission((_FULL[answer[0]], answer[1] - 1), quotas, _nothing)
        if not call.counters:
            return Admission(None, quotas, _nothing)
        self._in_flight[call.member] = call
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_leases())

        async def leave() -> None:
            left = self._start_leaving(call)
            remaining = max(0.0, self._patience_seconds - call.waited)
            await asyncio.wait({left}, timeout=0 if self._availability.is_paused else remaining)

        return Admission(None, quotas, leave)

    def _start_leaving(self, call: _Call) -> asyncio.Task[None]:
        """Start to count the end of a call, which goes on if nothing waits for it."""
        self._in_flight.pop(call.member, None)
        task = asyncio.create_task(self._leave(call))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _leave(self, call: _Call) -> None:
        """Count the end of a call, again and again until that succeeds or its lease has expired."""
        until = time.monotonic() + self._lease_seconds
        while call.counters and time.monotonic() < until:
            has_new_link = call.link_number != self._link.number
            arguments = call.member, self._lease_seconds, int(has_new_link)
            try:
                await self._link.request("EVAL", LEAVE, len(call.keys), *call.keys, *arguments)
            except FAILURES:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            calls = list(self._in_flight.values())
            renewals = [
                self._link.request("EVAL", RENEW, len(call.keys), *call.keys, call.member, self._lease_seconds)
                for call in calls
            ]
            await asyncio.gather(*renewals, return_exceptions=True)

    def _fall_back(self) -> Admission:
        """Admit a call while the server is unavailable, or raise StorageError."""
        if self._open_when_away:
            return Admission(None, {}, _nothing)
        raise StorageError("The limits of this key cannot be checked now.", code=UNAVAILABLE)


async def _nothing() -> None:
    """Count no end: nothing was counted as running."""
