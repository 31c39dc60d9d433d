"""ResponseCache: the port for cached answers of providers."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.caller import Options
from berth.v1.provider_pb2 import Provider


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an answer depends on: the provider, the account there, the operation, the resource, the caller, its options.

    `account` identifies the address and the keys with which the provider is asked. `allowed` are the
    providers that the caller may use, None for all; `named` is the provider that the request named.
    `options` are the caller's options; those that only control the cache have their default values.
    """

    tenant: str
    allowed: frozenset[Provider] | None
    provider: Provider
    account: str
    operation: str
    container_id: str
    file_id: str
    named: Provider
    options: Options


class CachedAnswer(NamedTuple):
    """A cached answer: `id` identifies it to callers, `body` is the serialized message."""

    id: str
    body: bytes


class Version(NamedTuple):
    """The state of a container when it was looked up: which writes to it had ended.

    `state` is the same only while no write to the container begins or ends. `moment` is for the
    implementation.
    """

    state: Hashable
    moment: int = 0


class Lookup(NamedTuple):
    """A cached answer, None if there is none, and the version of its container.

    The version is None if the container may be changing now, or if that is not known: then nothing
    that is read now can be cached.
    """

    answer: CachedAnswer | None
    version: Version | None


UNKNOWN = Lookup(None, None)


class EndWrite(Protocol):
    """Ends a write."""

    async def __call__(self, *, is_settled: bool) -> None:
        """Make all answers of the container that were read until now invalid.

        A write that is not settled ended without saying whether it happened: the container counts as
        changing for another SETTLING_SECONDS, as it may still take effect.
        """


class ResponseCache(Protocol):
    """Answers by key, and the writes that make them invalid. An answer may be evicted at any time.

    An answer is found only if it was read after the last write to its container had ended, and no
    other one had begun. Neither method fails or waits for long if the place where the answers are kept
    is unavailable.
    """

    async def find(self, key: CacheKey) -> Lookup:
        """Return the answer that was put last and is valid, and the version of the container."""

    async def put(self, key: CacheKey, answer: CachedAnswer, *, version: Version, ttl_seconds: int) -> bool:
        """Cache an answer for `ttl_seconds`; return whether it is cached.

        It is not if the container has another version than before it was read, which is `version`, if
        it is too large, or if its time to live is 0 or less.
        """

    async def begin_write(self, tenant: str, container_id: str) -> EndWrite:
        """Record that a write to a container begins; call the result when it has ended."""
