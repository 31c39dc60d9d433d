"""MemoryCache: the ResponseCache in the memory of the process, with `cachetools`."""

from collections.abc import Callable
from functools import partial
from sys import getsizeof
from typing import NamedTuple

from cachetools import TLRUCache

from berth.core.caching.write_tracker import Place, Writes, place_of
from berth.core.ports.response_cache import CachedAnswer, CacheKey, EndWrite, Lookup, Version

ENTRY_BYTES = 1024
"""The size of an entry without its body and the texts of its key: objects, and slots in the tables of the cache."""


class _Entry(NamedTuple):
    """A cached answer; `read_at` is the moment, counted in writes, at which the read began."""

    answer: CachedAnswer
    read_at: int
    bytes: int
    ttl_seconds: int


class MemoryCache:
    """A ResponseCache of at most `max_bytes`; the least recently used entries are evicted.

    It knows the writes that go through this object. `timer` returns monotonic seconds. For use in one
    thread.
    """

    def __init__(self, max_bytes: int, *, timer: Callable[[], float]) -> None:
        self._writes = Writes(timer)
        self._entries: TLRUCache[CacheKey, _Entry] = TLRUCache(
            max_bytes, ttu=_expires_at, timer=timer, getsizeof=lambda entry: entry.bytes
        )

    @property
    def bytes(self) -> int:
        """The size of all entries."""
        return int(self._entries.currsize)

    async def find(self, key: CacheKey) -> Lookup:
        """Return a cached answer; see ResponseCache."""
        last_write = self._writes.last(place_of(key.tenant, key.container_id))
        version = None if last_write is None else Version(last_write, self._writes.moment)
        try:
            entry = self._entries[key]
        except KeyError:
            return Lookup(None, version)
        is_valid = last_write is not None and entry.read_at >= last_write
        return Lookup(entry.answer if is_valid else None, version)

    async def put(self, key: CacheKey, answer: CachedAnswer, *, version: Version, ttl_seconds: int) -> bool:
        """Cache an answer; see ResponseCache."""
        last_write = self._writes.last(place_of(key.tenant, key.container_id))
        if last_write is None or last_write > version.moment:
            return False
        size = _key_bytes(key) + getsizeof(answer.body) + ENTRY_BYTES
        if size > self._entries.maxsize:
            return False
        self._entries[key] = _Entry(answer, version.moment, size, ttl_seconds)
        return ttl_seconds > 0

    async def begin_write(self, tenant: str, container_id: str) -> EndWrite:
        """Record that a write begins; see ResponseCache."""
        place = place_of(tenant, container_id)
        self._writes.begin(place)
        return partial(self._end_write, place)

    async def _end_write(self, place: Place, *, is_settled: bool) -> None:
        self._writes.end(place, is_settled=is_settled)


def _expires_at(_key: CacheKey, entry: _Entry, now: float) -> float:
    return now + entry.ttl_seconds


def _key_bytes(key: CacheKey) -> int:
    options = key.options
    texts = (key.tenant, key.container_id, key.file_id, options.cache_key, options.organization, options.project)
    return sum(getsizeof(text) for text in texts)
