"""Egress: the port for the way from a sandbox to the domains that its container may reach."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from socket import socket
from typing import NamedTuple, Protocol


class EgressCounts(NamedTuple):
    """How many requests of a command were passed on, refused or failed, and the bytes to and from servers."""

    passed: int
    refused: int
    failed: int
    bytes: int


class Egress(Protocol):
    """Opens proxies for commands; a command can reach nothing else."""

    def listen(self, path: Path) -> socket:
        """Return a Unix socket that listens at a path, however long that is. StorageError if that is impossible."""
        ...

    def opened(
        self, listener: socket, domains: Sequence[str], *, tenant: str
    ) -> AbstractAsyncContextManager[Sequence[str]]:
        """Serve an HTTP proxy on a socket of `listen` until the context ends; StorageError if that is impossible.

        The socket can have one such context after the other, each for one command, which is one of `tenant`.

        It passes on requests to `domains` alone: a name is that host, `*.` and a name all hosts below it; what is no
        domain is ignored. A name is only good for public addresses, and those that the configuration opens.

        The value of the context is what was refused, such as "example.com:443", each once and at most 100 of them. It
        grows, and is complete after the context.
        """
        ...
