"""ResponseCache: the port for cached answers of providers."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.caller import Options
from berth.v1.provider_pb2 import Provider


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an answer depends on: whose backend was asked for what, by whom, and how.

    `allowed` are the providers that the caller may use, None for all; `named` is
    the provider that the request named. `options` are the caller's, with those
    at their defaults that say only how to cache.
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
    """An answer as it is cached.

    `id` names it to callers, `body` is the message, serialized, and `read_at`
    the moment, counted in writes, at which it began to be read.
    """

    id: str
    body: bytes
    read_at: int


class ResponseCache(Protocol):
    """Answers under keys, in bounded memory of this process. An answer may be gone at any time."""

    def get(self, key: CacheKey) -> CachedAnswer | None:
        """Return the answer that was put last, or None if its time is up or it had to make room."""

    def put(self, key: CacheKey, answer: CachedAnswer, *, ttl_seconds: int) -> bool:
        """Keep an answer for `ttl_seconds`; return whether it is kept.

        One that is larger than the whole cache is not, nor one without time.
        """
