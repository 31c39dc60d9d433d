"""Shares: how many of the connections to a provider each tenant may have at a time."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Shares:
    """Counts `connections` by tenant. A tenant may have one more as long as it has fewer than are free.

    Connections are held for as long as a caller reads a download or sends an upload, and without shares one tenant
    could have them all. So one has half of them at most, a second one half of the rest, and some are left for the next.
    """

    def __init__(self, connections: int) -> None:
        self._free = connections
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """The calls that wait, in their order, by tenant. The tenant that was served last is the last one."""

    @asynccontextmanager
    async def connection(self, tenant: str) -> AsyncIterator[None]:
        """Hold a connection of a tenant."""
        await self.take(tenant)
        try:
            yield
        finally:
            self.give(tenant)

    async def take(self, tenant: str) -> None:
        """Wait for a connection of a tenant, which is to be given back."""
        if tenant not in self._waiting and self._has_more(tenant):
            self._count(tenant, 1)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give(tenant)  # it was granted in the same moment
            elif turn in self._waiting.get(tenant, ()):
                self._leave(tenant, turn)
            raise

    def give(self, tenant: str) -> None:
        """Give back a connection of a tenant; calls that wait get it, those of the tenant with the fewest first."""
        self._count(tenant, -1)
        while (served := min(self._waiting, key=self._held.__getitem__, default=None)) is not None:
            if not self._has_more(served):
                return  # and so the others have not either
            turn = self._waiting[served][0]
            self._leave(served, turn)
            if not turn.done():
                self._count(served, 1)
                turn.set_result(None)
                if served in self._waiting:
                    self._waiting[served] = self._waiting.pop(served)

    def _has_more(self, tenant: str) -> bool:
        return self._held[tenant] < self._free

    def _count(self, tenant: str, change: int) -> None:
        self._free -= change
        self._held[tenant] += change
        if not self._held[tenant]:
            del self._held[tenant]

    def _leave(self, tenant: str, turn: asyncio.Future[None]) -> None:
        self._waiting[tenant].remove(turn)
        if not self._waiting[tenant]:
            del self._waiting[tenant]
