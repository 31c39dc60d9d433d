"""Answers in the memory of the process, on `cachetools`."""

from collections.abc import Callable
from sys import getsizeof
from typing import NamedTuple

from cachetools import TLRUCache

from berth.core.ports.response_cache import CachedAnswer, CacheKey

ENTRY_BYTES = 1024
"""What an entry takes beside its body and the texts of its key: objects, and rows in the tables of the cache."""


class _Entry(NamedTuple):
    answer: CachedAnswer
    bytes: int
    ttl_seconds: int


class MemoryCache:
    """A ResponseCache of at most `max_bytes`; what was least recently used makes room.

    `timer` gives seconds from any beginning and never goes back. For one thread.
    """

    def __init__(self, max_bytes: int, *, timer: Callable[[], float]) -> None:
        self._entries: TLRUCache[CacheKey, _Entry] = TLRUCache(
            max_bytes, ttu=_end, timer=timer, getsizeof=lambda entry: entry.bytes
        )

    @property
    def bytes(self) -> int:
        """What the entries take."""
        return int(self._entries.currsize)

    def get(self, key: CacheKey) -> CachedAnswer | None:
        """Return an answer; see ResponseCache."""
        try:
            return self._entries[key].answer
        except KeyError:
            return None

    def put(self, key: CacheKey, answer: CachedAnswer, *, ttl_seconds: int) -> bool:
        """Keep an answer; see ResponseCache."""
        entry = _Entry(answer, _key_bytes(key) + getsizeof(answer.body) + ENTRY_BYTES, ttl_seconds)
        if entry.bytes > self._entries.maxsize:
            return False
        self._entries[key] = entry
        return ttl_seconds > 0


def _end(_key: CacheKey, entry: _Entry, now: float) -> float:
    return now + entry.ttl_seconds


def _key_bytes(key: CacheKey) -> int:
    options = key.options
    texts = (key.tenant, key.container_id, key.file_id, options.cache_key, options.organization, options.project)
    return sum(getsizeof(text) for text in texts)
