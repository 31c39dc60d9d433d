"""The response cache: a wrapper of any Backend.

Single containers and container files are cached; lists, file content and errors are not. The
ResponseCache keeps the answers, and knows when containers were last written to.

A cached answer is what the backend would return, as far as writes through the same ResponseCache are
concerned, which replicas may share. Other changes become visible when the entry expires, at the
latest: writes without Berth, a file of an expired container, and a newer `last_active_at`. The expiry
of a container is not hidden, because no entry outlives the expiry time in its answer. A hit does not
touch the container, so hits alone do not keep it running.
"""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from berth.core.caching.settling import writing
from berth.core.caching.single_flight import SingleFlight
from berth.core.caller import Caller, Options
from berth.core.lifetime import expires_at
from berth.core.ports.backend import Backend, BeforeCommit, Upload, nothing
from berth.core.ports.response_cache import CachedAnswer, CacheKey, ResponseCache, Version
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
"""The hit type of an exact match of the key, as opposed to a match by similarity."""

Answer = TypeVar("Answer", Container, ContainerFile)


class CachedBackend(BackendWrapper):
    """A Backend that caches the answers of `backend` in `cache`, for callers that ask for it.

    Callers ask with a cache key; with `always` all calls use the cache. Callers with the same
    tenant and key share answers. An answer is cached for the seconds that the caller who had it
    stored asked for, or else for `default_ttl_seconds`. A caller who asks not to store anything may
    still get a cached answer. `provider` is the provider of requests that name none; `account`
    returns what identifies the address and the keys with which it is asked now: an answer is for the
    same account only. `now` returns seconds since 1970; `new_id` returns an id made of a prefix and a
    number of hexadecimal digits.
    """

    def __init__(
        self,
        backend: Backend,
        cache: ResponseCache,
        *,
        provider: Provider,
        account: Callable[[], str],
        default_ttl_seconds: int,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        always: bool = False,
    ) -> None:
        super().__init__(backend)
        self._cache = cache
        self._provider = provider
        self._account = account
        self._default_ttl_seconds = default_ttl_seconds
        self._now = now
        self._new_id = new_id
        self._always = always
        self._misses: SingleFlight[tuple[CacheKey, Hashable], tuple[CachedAnswer, bool]] = SingleFlight()

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container, from the cache if the caller asks for it; see Backend."""
        retrieve = partial(self._backend.retrieve_container, caller, request)
        if not self._uses_cache(caller):
            return await retrieve()
        return await self._answer(Container, self._key(caller, request), retrieve=retrieve, options=caller.options)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container and its files; see Backend."""
        async with writing(self._cache, caller.tenant, request.container_id):
            return await self._backend.delete_container(caller, request)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file; see Backend."""
        async with writing(self._cache, caller.tenant, upload.container_id):
            return await self._backend.create_container_file(caller, upload, before_commit=before_commit)

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a container file, from the cache if the caller asks for it; see Backend."""
        retrieve = partial(self._backend.retrieve_container_file, caller, request)
        if not self._uses_cache(caller):
            return await retrieve()
        return await self._answer(ContainerFile, self._key(caller, request), retrieve=retrieve, options=caller.options)

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Delete a container file; see Backend."""
        async with writing(self._cache, caller.tenant, request.container_id):
            return await self._backend.delete_container_file(caller, request)

    def _uses_cache(self, caller: Caller) -> bool:
        return self._always or bool(caller.options.cache_key)

    def _key(self, caller: Caller, request: RetrieveContainerRequest | RetrieveContainerFileRequest) -> CacheKey:
        of_file = isinstance(request, RetrieveContainerFileRequest)
        options = caller.options
        return CacheKey(
            tenant=caller.tenant,
            allowed=caller.providers,
            provider=self._provider,
            account=self._account(),
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
        self, kind: type[Answer], key: CacheKey, *, retrieve: Callable[[], Awaitable[Answer]], options: Options
    ) -> Answer:
        """Return the cached answer for `key`, or else the result of `retrieve`."""
        found, version = await self._cache.find(key)
        if found is not None:
            return self._with_debug(kind.FromString(found.body), key, cache_id=found.id, hit=True)
        if version is None or not options.cache_store:
            return self._with_debug(await retrieve(), key)
        ttl = self._default_ttl_seconds if options.cache_ttl_seconds is None else options.cache_ttl_seconds
        fetch = partial(self._fetch, key, retrieve=retrieve, version=version, ttl_seconds=ttl)
        fetched, is_cached = await self._misses.join((key, version.state), fetch)
        return self._with_debug(kind.FromString(fetched.body), key, cache_id=fetched.id if is_cached else None)

    async def _fetch(
        self, key: CacheKey, *, retrieve: Callable[[], Awaitable[Answer]], version: Version, ttl_seconds: int
    ) -> tuple[CachedAnswer, bool]:
        """Return the result of `retrieve` and whether it was cached: not if it may already be out of date."""
        answer = await retrieve()
        cached = CachedAnswer(self._new_id(*CACHE_ID), answer.SerializeToString())
        ttl_seconds = min(ttl_seconds, _remaining_seconds(answer, self._now(), otherwise=ttl_seconds))
        return cached, await self._cache.put(key, cached, version=version, ttl_seconds=ttl_seconds)

    def _with_debug(self, answer: Answer, key: CacheKey, *, cache_id: str | None = None, hit: bool = False) -> Answer:
        """Set `cache_debug` in `answer` and return it."""
        extra = answer.extra_fields
        debug = CacheDebug(cache_hit=hit, cache_id=cache_id, requested_provider=key.named or self._provider)
        if hit:
            debug.hit_type, debug.provider_used = HIT_TYPE, extra.provider
            extra.ClearField("upstream_latency")
        extra.cache_debug.CopyFrom(debug)
        return answer


def _remaining_seconds(answer: Container | ContainerFile, now: int, *, otherwise: int) -> int:
    """Return how many seconds `answer` stays valid at least, or `otherwise` if it does not say."""
    if not isinstance(answer, Container) or answer.status in (CONTAINER_STATUS_EXPIRED, CONTAINER_STATUS_DELETED):
        return otherwise
    if not (answer.HasField("last_active_at") and answer.expires_after.HasField("minutes")):
        return otherwise
    return expires_at(answer) - now
