"""Session: the proxy of one command. It knows what the command may reach, and counts what it does."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from berth.adapters.egress.addresses import Reach
from berth.adapters.egress.connector import Connector, LookUp, Shared, look_up
from berth.adapters.egress.exchange import Exchange
from berth.adapters.egress.head import Destination, Head, read_destination, read_head
from berth.adapters.egress.hosts import Target
from berth.adapters.egress.refusals import AnswerError, RefusedError
from berth.adapters.egress.sockets import Channel, relay, unwatched

MAX_CONNECTIONS, MAX_ALL_CONNECTIONS = 64, 1024
"""How many connections one command, and all commands together, have at a time. Each takes up to 128 KiB."""
ACCEPT_SECONDS = 0.005
"""The time between two connections of a command: 200 a second are enough for programs, and cost others little."""
HEAD_SECONDS = 10.0
IDLE_SECONDS = 120.0
"""How long a connection may be silent in both directions; long enough for slow answers."""
MAX_REFUSALS = 100
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all commands: open ports, reachable addresses, and the bytes that a command may send and get."""

    ports: frozenset[int]
    reach: Reach
    max_bytes: int
    head_seconds: float = HEAD_SECONDS
    idle_seconds: float = IDLE_SECONDS
    connections: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_ALL_CONNECTIONS))


@dataclass(slots=True)
class Counts:
    """How many requests of a command were passed on, refused or failed, and the bytes to and from servers."""

    passed: int = 0
    refused: int = 0
    failed: int = 0
    bytes: int = 0


class Session:
    """Serves the connections of one command, which may reach `domains`.

    `report` gets each refused target once, at most MAX_REFUSALS of them. `shared` is that of its tenant.
    """

    def __init__(
        self,
        rules: Rules,
        domains: Iterable[str],
        report: Callable[[str], None],
        *,
        shared: Shared,
        look_up: LookUp = look_up,
    ) -> None:
        self._rules = rules
        self._report = report
        self._connector = Connector(domains, ports=rules.ports, reach=rules.reach, look_up=look_up, shared=shared)
        self._shared = shared
        self._refused: set[str] = set()
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self.counts = Counts()

    async def serve(self, listener: socket.socket) -> None:
        """Serve until this is cancelled. `listener` must not block."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                await self._free.acquire()
                try:
                    accepted, _ = await loop.sock_accept(listener)
                except OSError:  # the process has too many open files for the moment
                    self._free.release()
                else:
                    task = group.create_task(self._converse(accepted))
                    task.add_done_callback(lambda _: self._free.release())
                await asyncio.sleep(ACCEPT_SECONDS)

    async def _converse(self, accepted: socket.socket) -> None:
        client = Channel(accepted)
        try:
            await self._serve_or_answer(client)
        except Exception:  # noqa: BLE001 - mostly one of both is gone; whatever it is, it must end this connection only
            self.counts.failed += 1
        finally:
            client.close()

    async def _serve_or_answer(self, client: Channel) -> None:
        try:
            await self._serve(client)
        except AnswerError as error:
            self._note(error)
            if not client.has_sent:
                async with asyncio.timeout(self._rules.head_seconds):
                    await client.send(error.answer())
                    await client.linger()

    async def _serve(self, client: Channel) -> None:
        if self._rules.connections.locked() or self._shared.connections.locked():
            raise AnswerError(HTTPStatus.SERVICE_UNAVAILABLE, "Too many commands use the network. Try again.")
        async with self._rules.connections, self._shared.connections:
            head = await self._head(client)
            if head is None:
                return
            destination = read_destination(head.request)
            server = Channel(await self._connect(destination.target))
            try:
                self.counts.passed += 1
                await self._pass_on(head, destination, client, server)
            finally:
                server.close()

    async def _head(self, client: Channel) -> Head | None:
        try:
            async with asyncio.timeout(self._rules.head_seconds):
                return await read_head(client)
        except TimeoutError:
            raise AnswerError(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.") from None

    async def _connect(self, target: Target) -> socket.socket:
        if self.counts.bytes > self._rules.max_bytes:
            raise self._used_up(target)
        return await self._connector.connect(target)

    async def _pass_on(self, head: Head, destination: Destination, client: Channel, server: Channel) -> None:
        try:
            async with asyncio.timeout(self._rules.idle_seconds) as silence:
                self._watch(silence, client, server, destination.target)
                if destination.path is None:
                    await client.send(_ESTABLISHED)
                    await server.send(head.rest)
                    await relay(client, server)
                else:
                    await Exchange(head, destination, client, server).run()
        except TimeoutError:
            raise AnswerError(HTTPStatus.GATEWAY_TIMEOUT, f"{destination.target} was silent for too long.") from None
        finally:
            client.passed = unwatched

    def _watch(self, silence: asyncio.Timeout, client: Channel, server: Channel, target: Target) -> None:
        """Count what goes to and comes from the server, and let each piece end the silence."""
        loop = asyncio.get_running_loop()

        def spoke(_: int) -> None:
            silence.reschedule(loop.time() + self._rules.idle_seconds)

        def passed(size: int) -> None:
            spoke(size)
            self.counts.bytes += size
            if self.counts.bytes > self._rules.max_bytes:
                raise self._used_up(target)

        client.passed, server.passed = spoke, passed

    def _used_up(self, target: Target) -> RefusedError:
        limit = self._rules.max_bytes
        return RefusedError(str(target), f"the command has used up its {limit} bytes of network traffic")

    def _note(self, error: AnswerError) -> None:
        if not isinstance(error, RefusedError):
            self.counts.failed += 1
            return
        self.counts.refused += 1
        if error.name not in self._refused and len(self._refused) < MAX_REFUSALS:
            self._refused.add(error.name)
            self._report(error.name)
