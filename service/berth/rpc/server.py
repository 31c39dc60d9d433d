"""The grpc.aio server: its limits, services, health, reflection and shutdown."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2

from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.admission import Admission
from berth.rpc.json_methods import JsonBodies, json_handler
from berth.rpc.methods import Services, service_handler
from berth.rpc.peer import NO_TRUST, Trust
from berth.rpc.public_calls import HEALTH, PublicCalls
from berth.rpc.reflection import reflection_servicer

MAX_MESSAGE_BYTES = 24 * 1024 * 1024
"""For one request or response message. No message is read before the caller is known."""
MAX_METADATA_BYTES = 96 * 1024
"""More than Envoy's 32 KiB of headers, which arrive with the path twice."""
MAX_CONCURRENT_CALLS = 2048
"""More than Envoy's limit on concurrent requests. Further calls get RESOURCE_EXHAUSTED from grpc."""

FINAL_GRACE_SECONDS = 1.0
"""Time to send the last responses, after all calls have ended."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    # Otherwise grpc enlarges the window with the bandwidth, and uploads to a slow disk pile up in memory.
    ("grpc.http2.bdp_probe", 0),
    # A peer that disappeared without closing is detected after 80 s, even while nothing is sent.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Clients may ping every 10 s, even when idle: meshes and long uploads do.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class Server:
    """Serves services, with health (overall and per service) and reflection.

    `json_bodies` is the internal service for JSON bodies of REST callers; health and reflection do
    not list it. Without `shares_port`, a second process on the same port fails; with it, a process
    of the same user can listen there, too, and connections are distributed between both.
    """

    def __init__(
        self,
        services: Services,
        *,
        admit: Admission,
        interceptors: Sequence[Interceptor],
        json_bodies: JsonBodies | None = None,
        trust: Trust = NO_TRUST,
        shares_port: bool = False,
    ) -> None:
        self._options = (*OPTIONS, ("grpc.so_reuseport", int(shares_port)))
        self._running = RunningCalls()
        self._names = [service.full_name for service in services]
        self._health = health.aio.HealthServicer()
        outer = [self._running.intercept, *interceptors]
        self._handlers: list[grpc.GenericRpcHandler] = [
            service_handler(service, owner, admit=admit, interceptors=outer) for service, owner in services.items()
        ]
        if json_bodies is not None:
            self._handlers.append(json_handler(json_bodies, services, admit=admit, interceptors=outer))
        public = PublicCalls(self._health, reflection_servicer([*self._names, HEALTH]), trust=trust)
        self._handlers += public.handlers()
        self._server = self._build()
        self._for_envoy: grpc.aio.Server | None = None
        self._closing: list[asyncio.Task[None]] = []

    def bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen on `address`, "host:port" or "unix:path", and return the port. TLS is used with `credentials`.

        A port of 0 picks a free one. OSError if the address is taken.
        """
        with _os_errors(address):
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)

    def bind_for_envoy(self, path: str) -> None:
        """Listen on the Unix socket `path` for the own Envoy, which is served until `drain`, even without ports."""
        self._for_envoy = self._build()
        with _os_errors(path):
            self._for_envoy.add_insecure_port(f"unix:{path}")

    async def start(self) -> None:
        """Start serving, and report SERVING as the health of every service."""
        for server in self._servers():
            await server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def report(self, *, is_serving: bool) -> None:
        """Report the overall health, until `resign` is called; that of each service stays."""
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.SERVING if is_serving else status.NOT_SERVING)

    async def resign(self) -> None:
        """Report NOT_SERVING but keep answering, so that calls are sent elsewhere before they are refused here."""
        await self._health.enter_graceful_shutdown()

    async def drain(self, grace_seconds: float) -> None:
        """Report NOT_SERVING, take no new calls, and wait at most `grace_seconds` for running calls.

        Health watches never end, so they are not waited for.
        """
        await self.resign()
        stopping = [asyncio.create_task(server.stop(grace_seconds)) for server in self._servers()]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._running.ended.wait(), grace_seconds)
        for server in self._servers():
            await server.stop(FINAL_GRACE_SECONDS)
        await asyncio.gather(*stopping, *self._closing)

    async def close_ports(self, grace_seconds: float) -> None:
        """Accept no more connections, except from the own Envoy, and let running calls finish.

        Returns once the ports are closed; calls have `grace_seconds` to finish.
        """
        self._closing.append(asyncio.create_task(self._server.stop(grace_seconds)))
        await asyncio.sleep(0)  # the task closes the ports before it waits for anything

    def _build(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS)
        server.add_generic_rpc_handlers(self._handlers)
        return server

    def _servers(self) -> list[grpc.aio.Server]:
        return [self._server] if self._for_envoy is None else [self._server, self._for_envoy]


@contextmanager
def _os_errors(address: str) -> Iterator[None]:
    """Raise OSError if `address` cannot be listened on."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}") from error


class RunningCalls:
    """Tracks whether calls of the contract are running: `ended` is set while none is."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.ended.set()
        self._count = 0

    def intercept(self, next_handler: Handler) -> Handler:
        """Return a handler that counts a call while it runs."""

        async def handler(message: Any, call: Call) -> Any:
            self._count += 1
            self.ended.clear()
            try:
                return await next_handler(message, call)
            finally:
                self._count -= 1
                if not self._count:
                    self.ended.set()

        return handler
