"""Sessions: those of one process. Idle ones end after some time, and when their memory or place is needed."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from berth.core.background import create_detached
from berth.core.errors import BerthError, ContainerBusyError, NotFoundError
from berth.core.exec.capacity import ExecCapacity, exhausted
from berth.core.exec.sessions.session import Session, SessionKey
from berth.core.lifetime import expires_at, status_at
from berth.core.ports.container_store import ContainerStore
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED

LOOK_SECONDS = 1.0
"""How often idle sessions are looked at."""
RELEASE_SECONDS = 1.0
"""How long is waited for a session that is about to be free: its last result may be seen a moment before."""
IsLiving = Callable[[str, str], Awaitable[bool]]
"""Returns whether a tenant's container exists and has not expired."""


def living_in(containers: ContainerStore, now: Callable[[], int]) -> IsLiving:
    """Return what asks a store; `now` returns seconds since 1970."""

    async def is_living(tenant: str, container_id: str) -> bool:
        try:
            record = await containers.get_container(tenant, container_id, PROVIDER_UNSPECIFIED)
        except NotFoundError:
            return False
        return status_at(now(), expires_at=expires_at(record.container)) != CONTAINER_STATUS_EXPIRED

    return is_living


class Sessions:
    """At most `maximum` sessions with folders in `folder`; each has its memory from `capacity` as long as it exists."""

    def __init__(
        self,
        folder: Path,
        capacity: ExecCapacity,
        *,
        maximum: int,
        idle_seconds: float,
        is_living: IsLiving,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._folder = folder
        self._capacity = capacity
        self._maximum = maximum
        self._idle_seconds = idle_seconds
        self._is_living = is_living
        self._look_seconds = look_seconds
        self._sessions: dict[SessionKey, Session] = {}
        self._watching: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def has_room(self, key: SessionKey | None, memory_bytes: int, tenant: str) -> bool:
        """Return whether a program of a session, or a command if `key` is None, ends no idle session of others."""
        if key in self._sessions:
            return True
        is_full = key is not None and len(self._sessions) >= self._maximum
        return not is_full and self._capacity.has(memory_bytes, tenant)

    async def take(self, key: SessionKey, memory_bytes: int) -> Session:
        """Return a session for one program; it is to be released.

        ContainerBusyError if it runs another one; RateLimitError (`exec_capacity`) if there is no place or memory for a
        new session; InvalidRequestError if there is never as much memory.
        """
        session = self._sessions.get(key)
        if session is not None and session.is_busy:
            await _wait(session)
            session = self._sessions.get(key)
        if session is None:
            return await self._add(key, memory_bytes)
        if session.is_busy:
            raise ContainerBusyError
        session.is_busy = True
        session.released.clear()
        return session

    async def _add(self, key: SessionKey, memory_bytes: int) -> Session:
        session = Session(key, self._folder / f"session-{secrets.token_hex(8)}", memory_bytes)
        self._sessions[key] = session
        try:
            await self._make_place()
            await self.make_room(memory_bytes, key.tenant)
            await self._capacity.take(memory_bytes, key.tenant)
        except BaseException:
            self._forget(session)
            raise
        return session

    async def _make_place(self) -> None:
        while len(self._sessions) > self._maximum:
            if not await self._end_oldest():
                raise exhausted()

    async def make_room(self, memory_bytes: int, tenant: str) -> None:
        """End idle sessions, those that were not used for longest first, until some memory is free for a tenant.

        They are those of the tenant if its own commands and sessions have used up what it may have.
        """
        while not self._capacity.has(memory_bytes, tenant):
            owner = tenant if self._capacity.is_used_up(memory_bytes, tenant) else None
            if not await self._end_oldest(owner):
                return

    async def release(self, session: Session, *, is_kept: bool) -> None:
        """Give back a session after a program; it ends unless it `is_kept` and alive."""
        session.used_at = monotonic()
        if not is_kept or not session.is_alive or self._closed.is_set():
            await self._end(session)
            return
        session.is_busy = False
        session.released.set()
        while self._capacity.is_awaited and await self._end_oldest():
            pass
        if self._watching is None or self._watching.done():
            self._watching = create_detached(self._watch())

    async def close(self) -> None:
        """End all idle sessions, and the others when they are released."""
        self._closed.set()
        if self._watching is not None:
            await asyncio.wait([self._watching])  # it may be ending one
        while await self._end_oldest():
            pass

    def _idle(self) -> list[Session]:
        """Return the sessions that run no program, the one that was not used for longest first."""
        return sorted((one for one in self._sessions.values() if not one.is_busy), key=lambda one: one.used_at)

    async def _end_oldest(self, tenant: str | None = None) -> bool:
        """End the session that has been idle for longest, of a tenant if given; return whether there was any."""
        idle = [one for one in self._idle() if tenant is None or one.key.tenant == tenant]
        if idle:
            await self._end(idle[0])
        return bool(idle)

    async def _end(self, session: Session) -> None:
        session.is_busy = session.is_ending = True  # it must not be taken; its next program waits for the end
        session.released.clear()
        try:
            await session.end()
        finally:
            self._forget(session)
            self._capacity.give(session.memory_bytes, session.key.tenant)

    def _forget(self, session: Session) -> None:
        self._sessions.pop(session.key, None)
        session.released.set()

    async def _watch(self) -> None:
        """End sessions that have been idle for too long, or are of no more use, as long as there are any."""
        while self._sessions and not await self._is_closed_within(self._look_seconds):
            for session in self._idle():
                with suppress(BerthError):
                    if not session.is_busy and not await self._is_useful(session) and not session.is_busy:
                        await self._end(session)

    async def _is_closed_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        return self._closed.is_set()

    async def _is_useful(self, session: Session) -> bool:
        if not session.is_alive or monotonic() - session.used_at >= self._idle_seconds:
            return False
        return await self._is_living(session.key.tenant, session.key.container_id)


async def _wait(session: Session) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(RELEASE_SECONDS):
            await session.released.wait()
    if session.is_ending:  # which takes long with many files
        await session.released.wait()
