"""Connector: opens connections to what a command may reach, and to nothing else."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from berth.adapters.egress.addresses import Reach
from berth.adapters.egress.hosts import Allowlist, Target
from berth.adapters.egress.refusals import AnswerError, RefusedError
from berth.core.hosted.domains import plain_host, read_address

RESOLVE_SECONDS, CONNECT_SECONDS = 10.0, 10.0
MAX_LOOKUPS, MAX_TENANT_LOOKUPS = 4, 64
"""How many names of one command, and of all commands of a tenant, are looked up at a time.

What a command has begun to look up goes on after its end, so short commands could have any number of them.
"""
MAX_TENANT_CONNECTIONS = 512
"""How many connections all commands of a tenant have at a time: half of those that there are for all."""
LOOKUP_THREADS = 256
"""How many names are looked up at a time. A server that does not answer holds one for a minute, which nothing ends."""
MAX_ADDRESSES = 4
LookUp = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name; it blocks. OSError if there are none."""


def look_up(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name in ASCII, as the system knows them; see LookUp."""
    # Text would have Python load a codec, which this process may not be able to read any more.
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(slots=True, weakref_slot=True)
class Shared:
    """The places for look-ups and connections that all commands of a tenant share."""

    lookups: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_TENANT_LOOKUPS))
    connections: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_TENANT_CONNECTIONS))


class Connector:
    """Connects to the domains of one command on `ports`, at addresses within `reach`.

    `shared` is that of its tenant.

    A name is looked up for each connection, and the address that was checked is the one that is connected to.
    """

    def __init__(
        self,
        domains: Iterable[str],
        *,
        ports: frozenset[int],
        reach: Reach,
        look_up: LookUp,
        shared: Shared,
    ) -> None:
        self._allowlist = Allowlist(domains)
        self._ports = ports
        self._reach = reach
        self._look_up = look_up
        self._lookups = asyncio.Semaphore(MAX_LOOKUPS)
        self._shared = shared

    async def connect(self, target: Target) -> socket.socket:
        """Return a connection. RefusedError if the target may not be reached, AnswerError if it cannot be."""
        host = plain_host(target.host)
        if host is None or not self._allowlist.permits(host):
            raise RefusedError(str(target), "it is not one of the allowed domains of the container")
        if target.port not in self._ports:
            raise RefusedError(str(target), "this port is not open for commands")
        found = [host] if read_address(host) else await self._addresses(host, target)
        addresses = [address for address in found if self._reach.allows(address)]
        if not addresses:
            raise RefusedError(str(target), "it has no public address")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect_to_one(addresses[:MAX_ADDRESSES], target)
        except TimeoutError:
            raise AnswerError(HTTPStatus.GATEWAY_TIMEOUT, f"{target} did not accept a connection in time.") from None

    async def _addresses(self, host: str, target: Target) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                await self._take_place()
                looking = loop.run_in_executor(None, self._look_up, host, target.port)
                looking.add_done_callback(self._looked_up)
                return await asyncio.shield(looking)
        except (OSError, UnicodeError) as error:  # also if it took too long
            raise AnswerError(HTTPStatus.BAD_GATEWAY, f"The name of {target} could not be resolved.") from error

    async def _take_place(self) -> None:
        """Wait for a place for a look-up."""
        await self._lookups.acquire()
        try:
            await self._shared.lookups.acquire()
        except BaseException:
            self._lookups.release()
            raise

    def _looked_up(self, looking: asyncio.Future[Sequence[str]]) -> None:
        """Free the place of a look-up, which goes on after the request that asked for it has given up."""
        self._lookups.release()
        self._shared.lookups.release()
        if not looking.cancelled():
            looking.exception()

    async def _connect_to_one(self, addresses: Iterable[str], target: Target) -> socket.socket:
        for address in addresses:
            with suppress(OSError):
                return await self._connect_to(address, target)
        raise AnswerError(HTTPStatus.BAD_GATEWAY, f"{target} could not be reached.")

    async def _connect_to(self, address: str, target: Target) -> socket.socket:
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(connection, (address, target.port))
            self._refuse_own_address(connection, address, target)
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_own_address(self, connection: socket.socket, address: str, target: Target) -> None:
        """Refuse a public address of this machine: its services may trust what comes from the machine itself."""
        if connection.getsockname()[0] == address and not self._reach.is_opened(address):
            raise RefusedError(str(target), "it is the machine that runs the command")
