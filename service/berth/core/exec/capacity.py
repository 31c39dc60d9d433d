"""ExecCapacity: how much memory the commands of one process may use at a time."""

import asyncio
from collections import Counter, deque

from berth.core.errors import InvalidRequestError, RateLimitError

MAX_WAITING, MAX_TENANT_WAITING = 32, 16
"""How many commands wait for memory at most, and how many of a tenant."""
WAIT_SECONDS = 5.0
"""How long a command waits for memory at most."""
RETRY_SECONDS = 5


class ExecCapacity:
    """Counts the memory limits of running commands against `total_bytes`; those that wait get memory in turn.

    The commands of a tenant have at most `tenant_bytes` of it, with those that wait. If it is None, they may have all,
    and more of them wait.
    """

    def __init__(
        self, total_bytes: int, *, tenant_bytes: int | None = None, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._total = self._free = total_bytes
        self._has_shares = tenant_bytes is not None
        self._tenant_bytes = min(total_bytes, total_bytes if tenant_bytes is None else tenant_bytes)
        self._of_tenants: Counter[str] = Counter()
        self._wait_seconds = wait_seconds
        self._waiting: deque[tuple[int, str, asyncio.Future[None]]] = deque()

    def has(self, size: int, tenant: str) -> bool:
        """Return whether `size` bytes are free for a tenant now, or will never be."""
        if size > self._tenant_bytes:
            return True
        return not self._waiting and size <= self._free and not self.is_used_up(size, tenant)

    def is_used_up(self, size: int, tenant: str) -> bool:
        """Return whether a tenant has too much already to have `size` bytes more."""
        return self._has_shares and self._of_tenants[tenant] + size > self._tenant_bytes

    @property
    def is_awaited(self) -> bool:
        """Whether commands wait for memory."""
        return bool(self._waiting)

    async def take(self, size: int, tenant: str) -> None:
        """Take `size` bytes for a tenant, which are to be given back.

        InvalidRequestError if there are never as many; RateLimitError (`exec_capacity`) if there are not soon.
        """
        if size > self._tenant_bytes:
            message = (
                f"The memory_limit of the container is {size} bytes, but all commands of a process together "
                f"have {self._tenant_bytes}."
            )
            raise InvalidRequestError(message, param="memory_limit", code="memory_limit_too_large")
        if self.is_used_up(size, tenant):
            raise exhausted()
        self._of_tenants[tenant] += size
        try:
            await self._take(size, tenant)
        except BaseException:
            self._give_of_tenant(size, tenant)
            raise

    async def _take(self, size: int, tenant: str) -> None:
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        of_tenant = sum(waiting == tenant for _, waiting, _ in self._waiting)
        if len(self._waiting) >= MAX_WAITING or of_tenant >= MAX_TENANT_WAITING:
            raise exhausted()
        await self._wait(size, tenant)

    def give(self, size: int, tenant: str) -> None:
        """Give back `size` bytes of a tenant."""
        self._give_of_tenant(size, tenant)
        self._give(size)

    def _give_of_tenant(self, size: int, tenant: str) -> None:
        self._of_tenants[tenant] -= size
        if not self._of_tenants[tenant]:
            del self._of_tenants[tenant]

    def _give(self, size: int) -> None:
        self._free += size
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, _, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= wanted
                turn.set_result(None)

    async def _wait(self, size: int, tenant: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, tenant, turn)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._give(0)  # those that waited for this one may go on
            elif turn.done() and not turn.cancelled():
                self._give(size)  # it was granted in the same moment
            if isinstance(error, TimeoutError):
                raise exhausted() from None
            raise


def exhausted() -> RateLimitError:
    """Return the error for a command that cannot be run now."""
    message = f"Too many commands are running. Try again in {RETRY_SECONDS} s."
    return RateLimitError(message, code="exec_capacity", retry_after_seconds=RETRY_SECONDS)
