"""UpstreamAccount: the keys and connections of a provider, and the choice of the key for a request."""

import asyncio
import random as chance
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from berth.adapters.upstream.exchange import Exchange
from berth.adapters.upstream.http.client import UpstreamHttp, UpstreamRequest
from berth.adapters.upstream.http.retries import Retries
from berth.adapters.upstream.key_ring import KeyRing
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.core.caller import Caller
from berth.core.errors import UnsupportedOperationError, not_configured
from berth.core.ports.metrics import Metrics
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import Provider

DIRECT = "direct"
"""The name under which a caller's own key is stored."""

Sleep = Callable[[float], Awaitable[None]]


class UpstreamAccount:
    """The state that all exchanges with a provider share.

    `ring` has the configured keys; `forwards_unknown` is whether fields that the
    contract does not define are sent to the provider. `now` returns seconds since 1970,
    `random` a number in [0, 1), and `sleep` waits for a number of seconds.
    Connections are opened on first use, or by `open`.
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
        self.name = name
        self.forwards_unknown = settings.forwards_unknown
        self.timeout_seconds = settings.timeout_seconds
        self.secrets = frozenset(settings.extra_headers.values())
        self.sleep = sleep
        self.ring = KeyRing(settings.keys, provider=name, now=now, random=random, log=log, metrics=metrics)
        self.retries = Retries(max_retries=settings.max_retries, timeout_seconds=settings.timeout_seconds, sleep=sleep)
        self.http = UpstreamHttp(settings, provider=name, log=log, metrics=metrics)
        self._lacks = settings.dialect.lacks

    async def open(self) -> None:
        """Prepare the connections. OSError if the trusted certificate authorities cannot be read."""
        await self.http.open()

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    def exchange(self, request: UpstreamRequest, key: UpstreamKey) -> Exchange:
        """Return the exchange that sends `request` with `key`."""
        return Exchange(self, request, key)

    def require(self, request_type: str) -> None:
        """Raise UnsupportedOperationError if the provider does not support an operation."""
        if request_type in self._lacks:
            raise UnsupportedOperationError(request_type, self.name)

    def require_key(self, caller: Caller) -> None:
        """Raise ProviderNotConfiguredError if neither the configuration nor `caller` has a key."""
        if caller.direct_key is None and not len(self.ring):
            raise not_configured(self.name)

    def key_for_new(self, caller: Caller, *, preferred: str | None = None) -> UpstreamKey:
        """Return the key for a new resource: the caller's own, the one named `preferred`, or any.

        ProviderNotConfiguredError if there is none; other errors as in KeyRing.
        """
        if caller.direct_key is not None:
            return UpstreamKey(DIRECT, caller.direct_key)
        self.require_key(caller)
        return self.ring.choose() if preferred in (None, DIRECT) else self.ring.named(preferred)

    def key_for(self, caller: Caller, name: str) -> UpstreamKey:
        """Return the key `name`, which a resource was created with. UpstreamError if it is not configured any more."""
        if name == DIRECT and caller.direct_key is not None:
            return UpstreamKey(DIRECT, caller.direct_key)
        return self.ring.named(name)
