"""ResponseCache: the port for cached answers of providers."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.caller import Options
from berth.v1.provider_pb2 import Provider


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an answer depends on: the provider, the operation, the resource, the caller and its options.

    `allowed` are the providers that the caller may use, None for all; `named` is the provider that
    the request named. `options` are the caller's options; those that only control the cache have
    their default values.
    """

    tenant: str
    allowed: frozenset[Provider] | None
    provider: Provider
    operation: str
    container_id: str
    file_id: str
    named: Provider
    options: Options


class CachedAnswer(NamedTuple):
    """A cached answer.

    `id` identifies it to callers, `body` is the serialized message, and `read_at` is the moment,
    counted in writes, at which the read began.
    """

    id: str
    body: bytes
    read_at: int


class ResponseCache(Protocol):
    """Answers by key, in bounded memory of this process. An answer may be evicted at any time."""

    def get(self, key: CacheKey) -> CachedAnswer | None:
        """Return the answer that was put last; None if there is none, it has expired or it was evicted."""

    def put(self, key: CacheKey, answer: CachedAnswer, *, ttl_seconds: int) -> bool:
        """Cache an answer for `ttl_seconds`; return whether it is cached.

        An answer that is larger than the whole cache is not cached, nor is one with a time to live
        of 0 or less.
        """
