"""An account at a provider: its keys, its connections, and what is made of its answers."""

import asyncio
import random as chance
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from berth.adapters.upstream.errors import REFUSED_KEY, refusal, said_of, translated, unreadable
from berth.adapters.upstream.http.reply import Reply
from berth.adapters.upstream.http.retries import NOTHING_SENT, Retries
from berth.adapters.upstream.http.session import Order, UpstreamHttp
from berth.adapters.upstream.key_ring import KeyRing
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.core.errors import BerthError
from berth.core.ports.metrics import Metrics
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import Provider

DIRECT = "direct"
"""The name of a key of the caller's own."""
MAX_CREATE_WAIT_SECONDS = 5
"""How long a create waits for the last key that is left, where the provider asks for it."""
_TOO_MANY, _BEYOND_END = 429, 416
_LOST = frozenset({502, 504})
"""What a gateway says that waited for the provider in vain: it may have done it all the same."""

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Trip:
    """One operation on its way: with which key, and how long the provider took so far, over all attempts."""

    key: UpstreamKey
    seconds: float = 0.0
    attempts: int = 0


class UpstreamAccount:
    """Sends orders, with the right key, as often as it takes, and returns good answers alone.

    `ring` has the keys that are configured, and `lacks` the operations that the
    provider is not asked for; `forwards_unknown` says whether it gets fields that the
    contract does not know. `now` gives seconds since 1970, `random` a number
    from 0 to below 1, and `sleep` waits for a number of seconds. Connections are
    opened when they are first needed, or by `open`; `close` closes them.

    Each method raises the core error of what else may come, within the time
    that the settings allow.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        provider: Provider,
        now: Callable[[], int],
        log: FilteringBoundLogger,
        metrics: Metrics,
        random: Callable[[], float] = chance.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        name = provider_name(provider)
        self.provider = provider
        self.lacks = settings.flavor.lacks
        self.forwards_unknown = settings.forwards_unknown
        self.ring = KeyRing(settings.keys, provider=name, now=now, random=random, log=log, metrics=metrics)
        self._timeout_seconds = settings.timeout_seconds
        self._secrets = frozenset(settings.extra_headers.values())
        self._provider = name
        self._sleep = sleep
        self._retries = Retries(max_retries=settings.max_retries, timeout_seconds=settings.timeout_seconds, sleep=sleep)
        self._http = UpstreamHttp(settings, provider=name, log=log, metrics=metrics)

    async def open(self) -> None:
        """Read what the connections need. OSError if the authorities to trust cannot be read."""
        await self._http.open()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def secrets(self, order: Order, key: UpstreamKey) -> frozenset[str]:
        """Return what must not be seen of a call with `key`."""
        return self._secrets | order.secrets | {key.value}

    async def send(self, order: Order, trip: Trip) -> Reply:
        """Send `order` with the key of `trip`."""
        return self._judged(await self._in_time(self._sent(order, trip), order), order, trip)

    async def create(self, order: Order) -> tuple[Reply, Trip]:
        """Send `order` with one configured key after the other until one is let in."""
        trip = Trip(self.ring.choose())
        return self._judged(await self._in_time(self._let_in(order, trip), order), order, trip), trip

    async def open_stream(self, order: Order, trip: Trip) -> tuple[Reply, Callable[[], None]]:
        """Send `order`; return its answer, whose body is to come, and what to call when that is through.

        What is asked for beyond a file's end (416) is returned like a good answer.
        """
        key = trip.key
        self.ring.take(key)
        try:
            reply = await self._in_time(self._exchanged(order, trip), order)
            if reply.status != _BEYOND_END:
                self._judged(reply, order, trip)
        except BaseException:
            self.ring.give_back(key)
            raise
        return reply, lambda: self.ring.give_back(key)

    async def _let_in(self, order: Order, trip: Trip) -> Reply:
        """Pass over keys that are refused or at their limit; for the last one wait a moment, if it asks for that."""
        spent, limited, waited = set[str](), None, False
        while True:
            reply = await self._sent(order, trip)
            if reply.status not in REFUSED_KEY | {_TOO_MANY}:
                return reply
            limited = reply if reply.status == _TOO_MANY else limited
            spent.add(trip.key.name)
            if self.ring.has_other(spent):
                trip.key = self.ring.choose(spent)
            elif reply is limited and not waited and _is_short(reply.retry_after):
                waited = True
                await self._sleep(reply.retry_after or 0)
            else:
                return limited or reply

    async def _sent(self, order: Order, trip: Trip) -> Reply:
        key = trip.key
        self.ring.take(key)
        try:
            return await self._exchanged(order, trip)
        finally:
            self.ring.give_back(key)

    async def _exchanged(self, order: Order, trip: Trip) -> Reply:
        async def attempt() -> Reply:
            started = perf_counter()
            trip.attempts += 1
            try:
                return await self._http.attempt(order, trip.key)
            finally:
                trip.seconds += perf_counter() - started

        reply = await self._retries.run(attempt, repeatable=order.is_repeatable)
        if reply.status in REFUSED_KEY and trip.key in self.ring:
            self.ring.put_aside(trip.key, status=reply.status)
        return reply

    async def _in_time(self, work: Awaitable[T], order: Order) -> T:
        with _of_unknown_fate(order), translated(self._provider):
            async with asyncio.timeout(self._timeout_seconds) as timeout:
                if order.form is not None:
                    order.form.bound(timeout, seconds=self._timeout_seconds)
                return await work

    def _judged(self, reply: Reply, order: Order, trip: Trip) -> Reply:
        """Return a good answer; raise what any other stands for."""
        if reply.is_good:
            if order.form is not None and not order.form.is_sent:
                raise unreadable(self._provider, "before it had the whole file")
            return reply
        configured = trip.key in self.ring
        if configured and reply.status in REFUSED_KEY:
            raise self.ring.exhausted()
        secrets = self.secrets(order, trip.key)
        error = refusal(reply, provider=self._provider, direct=not configured, secrets=secrets)
        error.is_final = reply.status in _LOST and not order.is_repeatable
        raise error

    def read(self, reply: Reply, order: Order, trip: Trip) -> object:
        """Return the JSON value of a good answer. UpstreamError if there is none in it, or an error."""
        try:
            value = reply.json()
        except ValueError:
            raise unreadable(self._provider, "with something that is not JSON") from None
        if isinstance(value, dict) and value.get("error") and "id" not in value:
            said = said_of(value, self.secrets(order, trip.key))
            raise unreadable(self._provider, f"with an error: {said.message}" if said.message else "with an error")
        return value


@contextmanager
def _of_unknown_fate(order: Order) -> Iterator[None]:
    """Keep clients from repeating what may have been done: after a 503 or 504 they would, and there would be two."""
    try:
        yield
    except BerthError as error:
        fault = error.__cause__
        error.is_final = fault is not None and not order.is_repeatable and not isinstance(fault, NOTHING_SENT)
        raise


def _is_short(seconds: float | None) -> bool:
    return seconds is not None and seconds <= MAX_CREATE_WAIT_SECONDS
