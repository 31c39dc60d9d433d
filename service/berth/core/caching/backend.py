"""The response cache: a wrapper of any Backend.

Containers and files are cached when they are retrieved one by one; lists,
content and errors never are. Where answers are kept is left to the
ResponseCache, what was written when to `writes`.

An answer that comes out of the cache is what the backend would say, as far as
writes through this object go. What it cannot know of shows after the answer's
time at the latest: writes through another process or past Berth, a file whose
container has expired, a `last_active_at` that has moved on. That a container
has expired is not hidden: no answer outlives the expiry it tells of. A
container is not touched by a hit, so hits alone do not keep it running.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from berth.core.caching.single_flight import SingleFlight
from berth.core.caching.write_tracker import Writes, place_of
from berth.core.caller import Caller, Options
from berth.core.lifetime import expires_at
from berth.core.ports.backend import Backend, BeforeCommit, Upload, nothing
from berth.core.ports.response_cache import CachedAnswer, CacheKey, ResponseCache
from berth.core.ports.wrapper import BackendWrapper
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    DeleteContainerFileResponse,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import CONTAINER_STATUS_DELETED, CONTAINER_STATUS_EXPIRED, Container
from berth.v1.container_service_pb2 import (
    DeleteContainerRequest,
    DeleteContainerResponse,
    RetrieveContainerRequest,
)
from berth.v1.extra_fields_pb2 import CacheDebug
from berth.v1.provider_pb2 import Provider

CACHE_ID = ("cache_", 32)
HIT_TYPE = "direct"
"""How an answer is found: by its key, and not by its likeness."""

Answer = TypeVar("Answer", Container, ContainerFile)


class CachedBackend(BackendWrapper):
    """A Backend that answers from `cache` what `backend` has answered before, for callers who ask for it.

    They ask with a cache key, or all do if `always`; who shares a key and the
    tenant shares answers. An answer lives for the seconds that the caller who
    had it stored asked for, or else `default_ttl_seconds`. Who asks that nothing
    be stored may still be answered from the cache. `provider` is that of
    requests that name none; `now` gives seconds since 1970; `new_id` makes an id
    of a prefix and a number of hexadecimal digits.
    """

    def __init__(
        self,
        backend: Backend,
        cache: ResponseCache,
        *,
        provider: Provider,
        default_ttl_seconds: int,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        always: bool = False,
    ) -> None:
        super().__init__(backend)
        self._cache = cache
        self._provider = provider
        self._default_ttl_seconds = default_ttl_seconds
        self._now = now
        self._new_id = new_id
        self._always = always
        self._writes = Writes(now)
        self._misses: SingleFlight[tuple[CacheKey, int], tuple[CachedAnswer, bool]] = SingleFlight()

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container, from the cache if that is asked for; see Backend."""
        ask = partial(self._backend.retrieve_container, caller, request)
        if not self._is_asked(caller):
            return await ask()
        return await self._answer(Container, self._key(caller, request), ask=ask, options=caller.options)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files; see Backend."""
        with self._writes.writing(place_of(caller.tenant, request.container_id)):
            return await self._backend.delete_container(caller, request)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file; see Backend."""
        with self._writes.writing(place_of(caller.tenant, upload.container_id)):
            return await self._backend.create_container_file(caller, upload, before_commit=before_commit)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a file, from the cache if that is asked for; see Backend."""
        ask = partial(self._backend.retrieve_container_file, caller, request)
        if not self._is_asked(caller):
            return await ask()
        return await self._answer(ContainerFile, self._key(caller, request), ask=ask, options=caller.options)

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a file; see Backend."""
        with self._writes.writing(place_of(caller.tenant, request.container_id)):
            return await self._backend.delete_container_file(caller, request)

    def _is_asked(self, caller: Caller) -> bool:
        return self._always or bool(caller.options.cache_key)

    def _key(self, caller: Caller, request: RetrieveContainerRequest | RetrieveContainerFileRequest) -> CacheKey:
        of_file = isinstance(request, RetrieveContainerFileRequest)
        options = caller.options
        return CacheKey(
            tenant=caller.tenant,
            allowed=caller.providers,
            provider=self._provider,
            operation="retrieve_container_file" if of_file else "retrieve_container",
            container_id=request.container_id,
            file_id=request.file_id if isinstance(request, RetrieveContainerFileRequest) else "",
            named=request.provider,
            options=replace(
                options,
                cache_key=options.cache_key or "",
                cache_ttl_seconds=None,
                cache_store=True,
                idempotency_key=None,
            ),
        )

    async def _answer(
        self, kind: type[Answer], key: CacheKey, *, ask: Callable[[], Awaitable[Answer]], options: Options
    ) -> Answer:
        """Return what the cache has under `key`, or else what `ask` returns."""
        last_write = self._writes.last(place_of(key.tenant, key.container_id))
        if last_write is None:
            return self._told(await ask(), key)
        found = self._cache.get(key)
        if found is not None and found.read_at >= last_write:
            return self._told(kind.FromString(found.body), key, cache_id=found.id, hit=True)
        if not options.cache_store:
            return self._told(await ask(), key)
        ttl = self._default_ttl_seconds if options.cache_ttl_seconds is None else options.cache_ttl_seconds
        fetch = partial(self._fetch, key, ask=ask, read_at=self._writes.moment, ttl_seconds=ttl)
        fetched, is_kept = await self._misses.join((key, last_write), fetch)
        return self._told(kind.FromString(fetched.body), key, cache_id=fetched.id if is_kept else None)

    async def _fetch(
        self, key: CacheKey, *, ask: Callable[[], Awaitable[Answer]], read_at: int, ttl_seconds: int
    ) -> tuple[CachedAnswer, bool]:
        """Return what `ask` returns, and whether it is in the cache now: not if it may be out of date already."""
        answer = await ask()
        cached = CachedAnswer(self._new_id(*CACHE_ID), answer.SerializeToString(), read_at)
        last_write = self._writes.last(place_of(key.tenant, key.container_id))
        if last_write is None or last_write > read_at:
            return cached, False
        ttl_seconds = min(ttl_seconds, _remaining_seconds(answer, self._now(), otherwise=ttl_seconds))
        return cached, self._cache.put(key, cached, ttl_seconds=ttl_seconds)

    def _told(self, answer: Answer, key: CacheKey, *, cache_id: str | None = None, hit: bool = False) -> Answer:
        """Say in `answer` what the cache did."""
        extra = answer.extra_fields
        told = CacheDebug(cache_hit=hit, cache_id=cache_id, requested_provider=key.named or self._provider)
        if hit:
            told.hit_type, told.provider_used = HIT_TYPE, extra.provider
            extra.ClearField("upstream_latency")
        extra.cache_debug.CopyFrom(told)
        return answer


def _remaining_seconds(answer: Container | ContainerFile, now: int, *, otherwise: int) -> int:
    """Return how long `answer` stays true at least; `otherwise` if it does not say."""
    if not isinstance(answer, Container) or answer.status in (CONTAINER_STATUS_EXPIRED, CONTAINER_STATUS_DELETED):
        return otherwise
    if not (answer.HasField("last_active_at") and answer.expires_after.HasField("minutes")):
        return otherwise
    return expires_at(answer) - now
