"""A cached backend, and what tests of it ask it for."""

from dataclasses import dataclass, field, replace
from typing import Any

from berth.adapters.memory.cache import MemoryCache
from berth.core.caching.backend import CachedBackend
from berth.core.caller import Caller, Options
from berth.core.ports.backend import Backend
from berth.core.ports.response_cache import CachedAnswer, CacheKey, ResponseCache
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
        self._entries: dict[CacheKey, tuple[CachedAnswer, int]] = {}

    def get(self, key: CacheKey) -> CachedAnswer | None:
        """Return an answer; see ResponseCache."""
        answer, end = self._entries.get(key, (None, 0))
        return answer if self._now() < end else None

    def put(self, key: CacheKey, answer: CachedAnswer, *, ttl_seconds: int) -> bool:
        """Keep an answer; see ResponseCache."""
        self._entries[key] = (answer, self._now() + ttl_seconds)
        return ttl_seconds > 0


def cached(
    backend: Backend, clock: FixedClock, *, cache: ResponseCache | None = None, always: bool = False
) -> CachedBackend:
    """Return a CachedBackend on a cache of 100 kB, if none is given, with ids that follow each other."""
    return CachedBackend(
        backend,
        MemoryCache(100_000, timer=clock) if cache is None else cache,
        provider=OPENAI,
        default_ttl_seconds=DEFAULT_TTL_SECONDS,
        now=clock,
        new_id=SequentialIds(),
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
