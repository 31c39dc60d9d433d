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
from berth.adapters.upstream.shares import Shares
from berth.core.caller import Caller
from berth.core.errors import UnsupportedOperationError, not_configured
from berth.core.observation.spans import NO_TRACER, Tracer
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
        tracer: Tracer = NO_TRACER,
        random: Callable[[], float] = chance.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        name = provider_name(provider)
        self.provider = provider
        self.name = name
        self.forwards_unknown = settings.forwards_unknown
        self._opens_unknown = settings.opens_unknown
        self.timeout_seconds = settings.timeout_seconds
        self.secrets = frozenset(settings.extra_headers.values())
        self.now = now
        self.log = log
        self.sleep = sleep
        self.ring = KeyRing(settings.keys, provider=name, now=now, random=random, log=log, metrics=metrics)
        self.retries = Retries(max_retries=settings.max_retries, timeout_seconds=settings.timeout_seconds, sleep=sleep)
        self.http = UpstreamHttp(settings, provider=name, log=log, metrics=metrics, tracer=tracer)
        self.shares = Shares(settings.max_connections)
        self.dialect = settings.dialect

    async def close(self) -> None:
        """Close the connections."""
        await self.http.close()

    def exchange(self, request: UpstreamRequest, key: UpstreamKey) -> Exchange:
        """Return the exchange that sends `request` with `key`."""
        return Exchange(self, request, key)

    def require(self, request_type: str) -> None:
        """Raise UnsupportedOperationError if the provider does not support an operation."""
        if not self.supports(request_type):
            raise UnsupportedOperationError(request_type, self.name)

    def supports(self, request_type: str) -> bool:
        """Return whether the provider supports an operation."""
        return request_type not in self.dialect.lacks

    def owns(self, caller: Caller) -> bool:
        """Return whether the caller has an account of its own here; see core.routing.accounts."""
        return self.own_key(caller) is not None

    def admits_unknown(self, caller: Caller) -> bool:
        """Return whether the caller may reach what Berth does not know; see core.routing.accounts."""
        return self.key_for_unknown(caller) is not None

    def is_own_key(self, tenant: str, key: str) -> bool:
        """Return whether `tenant` has the account of a key to itself now; see core.routing.accounts."""
        return key == DIRECT or self.ring.is_reserved(key, tenant)

    def own_key(self, caller: Caller) -> UpstreamKey | None:
        """Return the key that came with the request, or the first one that is reserved for the caller's tenant."""
        if caller.direct_key is not None:
            return UpstreamKey(DIRECT, caller.direct_key, is_callers=True)
        return self.ring.first(caller.tenant)

    def key_for_unknown(self, caller: Caller) -> UpstreamKey | None:
        """Return the key to ask for what Berth does not know with; None if the caller must not reach that."""
        return self.own_key(caller) or (self.ring.first() if self._opens_unknown else None)

    def require_key(self, caller: Caller) -> None:
        """Raise ProviderNotConfiguredError if neither the configuration nor `caller` has a key."""
        if self.own_key(caller) is None and self.ring.first() is None:
            raise not_configured(self.name)

    def key_for_new(self, caller: Caller, *, preferred: str | None = None) -> UpstreamKey:
        """Return the key for a new resource: the caller's own, the one named `preferred`, or any.

        "Any" is one of those that are reserved for the caller's tenant, if there are such keys.

        ProviderNotConfiguredError if there is none; other errors as in KeyRing.
        """
        own = self.own_key(caller)
        if own is not None and own.is_callers:
            return own
        self.require_key(caller)
        tenant = own.tenant if own else None
        return self.ring.choose(tenant=tenant) if preferred in (None, DIRECT) else self.ring.named(preferred, tenant)

    def key_for(self, caller: Caller, name: str) -> UpstreamKey:
        """Return the key `name`, which a resource was created with, or else the caller's own.

        UpstreamError if it is not configured any more.
        """
        if caller.direct_key is not None:
            return UpstreamKey(DIRECT, caller.direct_key, is_callers=True)
        return self.ring.find(name, caller.tenant) or self.own_key(caller) or self.ring.named(name)
