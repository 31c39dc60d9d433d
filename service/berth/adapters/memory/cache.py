"""MemoryCache: the ResponseCache in the memory of the process, with `cachetools`."""

from collections.abc import Callable
from sys import getsizeof
from typing import NamedTuple

from cachetools import TLRUCache

from berth.core.ports.response_cache import CachedAnswer, CacheKey

ENTRY_BYTES = 1024
"""The size of an entry without its body and the texts of its key: objects, and slots in the tables of the cache."""


class _Entry(NamedTuple):
    answer: CachedAnswer
    bytes: int
    ttl_seconds: int


class MemoryCache:
    """A ResponseCache of at most `max_bytes`; the least recently used entries are evicted.

    `timer` returns monotonic seconds. For use in one thread.
    """

    def __init__(self, max_bytes: int, *, timer: Callable[[], float]) -> None:
        self._entries: TLRUCache[CacheKey, _Entry] = TLRUCache(
            max_bytes, ttu=_expires_at, timer=timer, getsizeof=lambda entry: entry.bytes
        )

    @property
    def bytes(self) -> int:
        """The size of all entries."""
        return int(self._entries.currsize)

    def get(self, key: CacheKey) -> CachedAnswer | None:
        """Return a cached answer; see ResponseCache."""
        try:
            return self._entries[key].answer
        except KeyError:
            return None

    def put(self, key: CacheKey, answer: CachedAnswer, *, ttl_seconds: int) -> bool:
        """Cache an answer; see ResponseCache."""
        entry = _Entry(answer, _key_bytes(key) + getsizeof(answer.body) + ENTRY_BYTES, ttl_seconds)
        if entry.bytes > self._entries.maxsize:
            return False
        self._entries[key] = entry
        return ttl_seconds > 0


def _expires_at(_key: CacheKey, entry: _Entry, now: float) -> float:
    return now + entry.ttl_seconds


def _key_bytes(key: CacheKey) -> int:
    options = key.options
    texts = (key.tenant, key.container_id, key.file_id, options.cache_key, options.organization, options.project)
    return sum(getsizeof(text) for text in texts)
