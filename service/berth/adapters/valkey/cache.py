"""ValkeyCache: the response cache in Valkey or Redis, for all replicas together.

A write is recorded before the provider gets it and again when it has ended, before its caller has the
answer. So an answer from before a write is not found after it, by any replica. The server must not
delay calls: if it does not respond soon, reads are answered without it, and writes go on unrecorded.
What follows from that is limited in three ways. Each connection begins with a new epoch, which empties
the cache, because it is not known what was missed without a connection. A process that could not record
the end of a write uses the cache again only after it has begun a new epoch. And no entry is older than
MAX_TTL_SECONDS.
"""

import asyncio
import json
import time
from dataclasses import dataclass, fields
from functools import partial
from hashlib import blake2b
from operator import attrgetter
from secrets import token_hex
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.adapters.valkey.availability import FAILURES, PAUSE_SECONDS, Availability
from berth.adapters.valkey.cache_scripts import BEGIN, END, FIND, PUT
from berth.adapters.valkey.link import Link, LostError
from berth.core.caching.settling import SETTLING_SECONDS
from berth.core.caller import Options
from berth.core.ports.response_cache import UNKNOWN, CachedAnswer, CacheKey, EndWrite, Lookup, Version

LEASE_SECONDS = 1.5 * SETTLING_SECONDS
"""How long a running write counts without a renewal, which comes after a third of it.

If its process dies, it counts for at least SETTLING_SECONDS more, in which it may still take effect.
"""
PATIENCE_SECONDS = 0.25
"""How long the server may delay a look-up, the storing of an answer, or a write, from its begin to its end in all."""
MAX_TTL_SECONDS = 3600
"""How long an answer is cached at most."""
MAX_BODY_BYTES = 1_048_576
"""The largest answer that is cached."""

_EPOCH = "berth:cache:epoch"
_OPTIONS = attrgetter(*(field.name for field in fields(Options)))
_DIGEST_BYTES = 20
_ID_DIGITS = 16


@dataclass(slots=True)
class _Write:
    """A write that runs; `waited` is for how many seconds the server has delayed it."""

    id: str
    keys: tuple[str, str]
    waited: float = 0.0


class ValkeyCache:
    """A ResponseCache on the server at `url` (`redis://`, `rediss://`, `valkey://`, `valkeys://`).

    `lease_seconds` is how long a running write counts without a renewal, `patience_seconds` for how long
    the server may delay a call.
    """

    def __init__(
        self,
        url: str,
        *,
        log: FilteringBoundLogger,
        lease_seconds: float = LEASE_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._link = Link(url, greeting=("DEL", _EPOCH))
        self._availability = Availability("cache", log)
        self._lease_seconds = lease_seconds
        self._patience_seconds = patience_seconds
        self._running: dict[str, _Write] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._emptying: asyncio.Task[None] | None = None
        self._lost_ends = 0

    async def close(self) -> None:
        """Wait a little for the ends of writes to be recorded, and close the connection."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._patience_seconds)
        for task in (*self._tasks, self._renewing, self._emptying):
            if task is not None:
                task.cancel()
        await self._link.close()

    async def find(self, key: CacheKey) -> Lookup:
        """Return a cached answer; see ResponseCache."""
        if self._availability.is_paused or self._emptying is not None:
            return UNKNOWN
        keys = _EPOCH, *_keys_of(key.tenant, key.container_id), _entry_key(key)
        found = await self._ask("EVAL", FIND, len(keys), *keys, token_hex(_ID_DIGITS // 2), MAX_TTL_SECONDS * 1000)
        if not found:
            return UNKNOWN
        version, *entries = found
        return Lookup(_parse(entries[0]) if entries else None, Version(version))

    async def put(self, key: CacheKey, answer: CachedAnswer, *, version: Version, ttl_seconds: int) -> bool:
        """Cache an answer; see ResponseCache."""
        if len(answer.body) > MAX_BODY_BYTES or self._availability.is_paused:
            return False
        generation, _ = _keys_of(key.tenant, key.container_id)
        keys = _EPOCH, generation, _entry_key(key)
        milliseconds = min(ttl_seconds, MAX_TTL_SECONDS) * 1000
        return bool(await self._ask("EVAL", PUT, len(keys), *keys, version.state, _value_of(answer), milliseconds))

    async def begin_write(self, tenant: str, container_id: str) -> EndWrite:
        """Record that a write begins; see ResponseCache."""
        write = _Write(token_hex(_ID_DIGITS // 2), _keys_of(tenant, container_id))
        self._running[write.id] = write
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._renew_leases())
        try:
            await self._wait_for(self._start(self._begin(write)), write)
        except BaseException:
            self._start(self._end(write, 0))
            raise
        return partial(self._end_write, write)

    async def _end_write(self, write: _Write, *, is_settled: bool) -> None:
        await self._wait_for(self._start(self._end(write, 0 if is_settled else SETTLING_SECONDS)), write)

    async def _ask(self, *command: Any) -> Any:
        """Return the response to a command; None if the server does not respond in time or refuses it."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                response = await self._send(*command)
        except (*FAILURES, TimeoutError) as error:
            self._availability.note_failure(error)
            return None
        self._availability.note_success()
        return response

    async def _send(self, *command: Any) -> Any:
        """Return the response to a command, which is sent once again if the connection was lost."""
        try:
            return await self._link.request(*command)
        except LostError:
            return await self._link.request(*command)

    def _start(self, recording: Any) -> "asyncio.Task[None]":
        """Start to record something of a write, which goes on if nothing waits for it."""
        task: asyncio.Task[None] = asyncio.create_task(recording)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _wait_for(self, task: "asyncio.Task[None]", write: _Write) -> None:
        """Wait until something of a write is recorded, but not longer than the server may delay the write."""
        is_paused, started = self._availability.is_paused, time.monotonic()
        patience = 0.0 if is_paused else max(0.0, self._patience_seconds - write.waited)
        await asyncio.wait({task}, timeout=patience)
        write.waited += time.monotonic() - started
        if not task.done() and not is_paused:
            self._availability.note_failure(TimeoutError())

    async def _begin(self, write: _Write) -> None:
        try:
            await self._send("EVAL", BEGIN, 2, *write.keys, write.id, self._lease_seconds)
        except FAILURES as error:
            self._availability.note_failure(error)

    async def _end(self, write: _Write, settling_seconds: float) -> None:
        """Record the end of a write; if it may still take effect, try again and again for that time."""
        self._running.pop(write.id, None)
        until = time.monotonic() + settling_seconds
        while True:
            remaining = max(0.0, until - time.monotonic())
            try:
                await self._send("EVAL", END, 2, *write.keys, write.id, self._lease_seconds, remaining)
            except FAILURES as error:
                self._availability.note_failure(error)
                self._note_lost_end()
            else:
                return
            if not remaining:
                return
            await asyncio.sleep(PAUSE_SECONDS)

    def _note_lost_end(self) -> None:
        """Begin a new epoch as soon as that is possible: an end of a write could not be recorded."""
        self._lost_ends += 1
        if self._emptying is None:
            self._emptying = asyncio.create_task(self._empty())

    async def _empty(self) -> None:
        emptied_after = -1
        while emptied_after != self._lost_ends:
            lost_ends = self._lost_ends
            try:
                await self._link.request("DEL", _EPOCH)
            except FAILURES:
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                emptied_after = lost_ends
        self._emptying = None

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._lease_seconds / 3)
            renewals = [
                self._link.request("EVAL", BEGIN, 2, *write.keys, write.id, self._lease_seconds)
                for write in self._running.values()
            ]
            await asyncio.gather(*renewals, return_exceptions=True)


def _keys_of(tenant: str, container_id: str) -> tuple[str, str]:
    """Return the keys of the generation of a container and of its running writes."""
    container = _digest(tenant, container_id)
    return f"berth:cache:generation:{container}", f"berth:cache:writes:{container}"


def _entry_key(key: CacheKey) -> str:
    allowed = None if key.allowed is None else sorted(key.allowed)
    names = key.tenant, key.account, key.operation, key.container_id, key.file_id
    return f"berth:cache:entry:{_digest(*names, allowed, key.provider, key.named, _OPTIONS(key.options))}"


def _digest(*parts: object) -> str:
    """Return a digest of a structure; its size does not depend on texts that callers choose."""
    return blake2b(json.dumps(parts).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def _value_of(answer: CachedAnswer) -> bytes:
    """Return what is stored for an answer, with a checksum."""
    content = answer.id.encode() + b"\0" + answer.body
    return blake2b(content, digest_size=_DIGEST_BYTES).digest() + content


def _parse(value: bytes) -> CachedAnswer | None:
    """Return the answer of a stored value; None if it is damaged, such as by something else that writes there."""
    checksum, content = value[:_DIGEST_BYTES], value[_DIGEST_BYTES:]
    if blake2b(content, digest_size=_DIGEST_BYTES).digest() != checksum:
        return None
    answer_id, _, body = content.partition(b"\0")
    return CachedAnswer(answer_id.decode(), body)
