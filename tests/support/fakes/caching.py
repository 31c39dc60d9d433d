"""A cached backend, and what tests of it ask it for."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from berth.adapters.memory.cache import MemoryCache
from berth.adapters.valkey.cache import MAX_BODY_BYTES
from berth.core.caching.backend import CachedBackend
from berth.core.caching.settling import SETTLING_SECONDS
from berth.core.caller import Caller, Options
from berth.core.ports.backend import Backend
from berth.core.ports.response_cache import (
    UNKNOWN,
    CachedAnswer,
    CacheKey,
    EndWrite,
    Lookup,
    ResponseCache,
    Version,
)
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import RetrieveContainerFileRequest
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
from support.fakes.counting import CountingBackend
from support.fakes.stores import FixedClock, SequentialIds

DEFAULT_TTL_SECONDS = 300
OPENAI = Provider.PROVIDER_OPENAI
ASKING = Caller("ours", "first", options=Options(cache_key="k"))


class DictCache:
    """A ResponseCache in a dictionary, without a bound."""

    def __init__(self, now: FixedClock) -> None:
        self._now = now
        self._entries: dict[CacheKey, tuple[CachedAnswer, int, int]] = {}
        self._begun: Counter[tuple[str, str]] = Counter()
        self._running: Counter[tuple[str, str]] = Counter()
        self._settled_at: dict[tuple[str, str], int] = {}

    async def find(self, key: CacheKey) -> Lookup:
        """Return an answer; see ResponseCache."""
        place = key.tenant, key.container_id
        if self._running[place] or self._now() < self._settled_at.get(place, 0):
            return UNKNOWN
        answer, end, begun = self._entries.get(key, (None, 0, 0))
        is_valid = self._now() < end and begun == self._begun[place]
        return Lookup(answer if is_valid else None, Version(self._begun[place]))

    async def put(self, key: CacheKey, answer: CachedAnswer, *, version: Version, ttl_seconds: int) -> bool:
        """Keep an answer; see ResponseCache."""
        if (await self.find(key)).version != version or len(answer.body) > MAX_BODY_BYTES:
            return False
        self._entries[key] = (answer, self._now() + ttl_seconds, self._begun[key.tenant, key.container_id])
        return ttl_seconds > 0

    async def begin_write(self, tenant: str, container_id: str) -> EndWrite:
        """Count a write; see ResponseCache."""
        place = tenant, container_id
        self._begun[place] += 1
        self._running[place] += 1

        async def end(*, is_settled: bool) -> None:
            self._running[place] -= 1
            if not is_settled:
                self._settled_at[place] = self._now() + SETTLING_SECONDS

        return end


def cached(
    backend: Backend,
    clock: FixedClock,
    *,
    cache: ResponseCache | None = None,
    always: bool = False,
    new_id: SequentialIds | None = None,
    account: str = "",
) -> CachedBackend:
    """Return a CachedBackend on a cache of 100 kB, if none is given, with ids that follow each other."""
    return CachedBackend(
        backend,
        MemoryCache(100_000, timer=clock) if cache is None else cache,
        provider=OPENAI,
        account=lambda: account,
        default_ttl_seconds=DEFAULT_TTL_SECONDS,
        now=clock,
        new_id=new_id or SequentialIds(),
        always=always,
    )


@dataclass
class World:
    """A backend that counts, behind a cache."""

    clock: FixedClock = field(default_factory=FixedClock)
    behind: CountingBackend = field(default_factory=CountingBackend)

    def __post_init__(self) -> None:
        self.backend = cached(self.behind.as_backend(), self.clock)

    async def container(
        self, caller: Caller = ASKING, *, container_id: str = "cntr_1", provider: Provider | None = None
    ) -> Container:
        """Retrieve a container."""
        request = RetrieveContainerRequest(container_id=container_id, provider=provider)
        return await self.backend.retrieve_container(caller, request)

    async def file(
        self, caller: Caller = ASKING, *, container_id: str = "cntr_1", file_id: str = "cfile_1"
    ) -> ContainerFile:
        """Retrieve a file."""
        request = RetrieveContainerFileRequest(container_id=container_id, file_id=file_id)
        return await self.backend.retrieve_container_file(caller, request)

    @property
    def reads(self) -> int:
        """How often the backend behind the cache was asked for a container or a file."""
        return self.behind.calls["retrieve_container"] + self.behind.calls["retrieve_container_file"]


def asking(**options: Any) -> Caller:
    """Return the caller who asks for the cache, with further options."""
    return replace(ASKING, options=replace(ASKING.options, **options))
