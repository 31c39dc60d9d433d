"""Opens connections to a PostgreSQL server, and lends them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

import asyncpg

from berth.adapters.sql.postgres.errors import FAILURES, is_usable_after
from berth.core.background import cancelled, create_detached

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
    Connect = Callable[[], Awaitable[Connection]]

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""How long a statement may take, and how long a call waits for a free connection."""
_SETTLING_SECONDS = 1.0
"""How long closing all connections waits for the server to end cancelled statements."""
_NOTHING = "SELECT 1"
_STATEMENTS = 512  # more than there are: each is parsed once per connection
_SESSION = {
    "application_name": "berth",
    "idle_in_transaction_session_timeout": "30000",  # ends the locks of a process that has vanished
    "lock_timeout": "10000",
    "jit": "off",  # no statement here runs long enough to gain from it
}


class Settings(NamedTuple):
    """How to connect: `prepares` is whether statements are prepared once per connection, `size` how many there are."""

    url: str
    size: int
    prepares: bool


def place_of(url: str) -> str:
    """Return how messages name the database of a URL: without user and password."""
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"


async def connect(settings: Settings, *, answer_seconds: float | None = ANSWER_SECONDS) -> "Connection":
    """Open a connection. Raises one of FAILURES."""
    return await asyncpg.connect(
        settings.url,
        timeout=CONNECT_SECONDS,
        command_timeout=answer_seconds,
        statement_cache_size=_STATEMENTS if settings.prepares else 0,
        max_cached_statement_lifetime=0,
        # A pooler between Berth and the server knows no other setting.
        server_settings=_SESSION if settings.prepares else {"application_name": _SESSION["application_name"]},
    )


class Turns(asyncio.Semaphore):
    """A semaphore for which a call waits at most ANSWER_SECONDS; TimeoutError if it takes longer."""

    async def acquire(self) -> Literal[True]:
        """Wait for a turn."""
        if not self.locked():
            return await super().acquire()
        async with asyncio.timeout(ANSWER_SECONDS):
            return await super().acquire()


class Pool:
    """At most `size` connections, which are opened when they are needed.

    Transactions take a turn of `writing` before they borrow one: all but one may wait for locks of others, and reads go
    on.

    It is our own, because the driver's takes three times the CPU time of a point read: it resets each connection, and
    wraps it in an object for each loan.
    """

    def __init__(self, connect: "Connect", size: int) -> None:
        self._connect = connect
        self._free = Turns(size)
        self.writing = Turns(max(1, size - 1))
        self._idle: list[Connection] = []
        self._settling: dict[asyncio.Task[None], Connection] = {}

    async def borrow(self) -> "Connection":
        """Return a connection, which has to be given back. Raises one of FAILURES."""
        await self._free.acquire()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        try:
            return await self._connect()
        except BaseException:
            self._free.release()
            raise

    def give_back(self, connection: "Connection") -> None:
        """Take back a connection that is in no transaction."""
        self._idle.append(connection)
        self._free.release()

    def give_back_after(self, connection: "Connection", error: BaseException) -> None:
        """Take back a connection after a statement that is in no transaction; close it if it may be broken.

        After a cancelled statement it counts as borrowed until the server has ended that: if it were closed, the server
        would go on, and callers that give up and try again would have it run any number of statements.
        """
        if is_usable_after(error):
            self.give_back(connection)
        elif isinstance(error, asyncio.CancelledError):
            settling = create_detached(self._settle(connection))
            self._settling[settling] = connection
            settling.add_done_callback(self._settling.pop)
        else:
            self.discard(connection)

    async def _settle(self, connection: "Connection") -> None:
        """Take back a connection on which the driver cancels a statement, once that has ended."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute(_NOTHING)
        except FAILURES:
            self.discard(connection)
        else:
            self.give_back(connection)

    def discard(self, connection: "Connection") -> None:
        """Close a borrowed connection at once, without waiting for the server."""
        connection.terminate()
        self._free.release()

    async def aclose(self) -> None:
        """Close all connections that are not borrowed, at the end."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=_SETTLING_SECONDS)
        for settling, connection in tuple(self._settling.items()):
            await cancelled(settling)
            connection.terminate()
        self.close_idle()

    def close_idle(self) -> None:
        """Close all connections that are not borrowed, because one was lost: others may be lost, too."""
        while self._idle:
            self._idle.pop().terminate()
