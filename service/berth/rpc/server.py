"""The server: its services, health, reflection and shutdown, on all transports."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2

from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.admission import Admission
from berth.rpc.json_methods import JsonBodies, json_routes
from berth.rpc.methods import Services, service_routes
from berth.rpc.peer import NO_TRUST, Trust
from berth.rpc.public_calls import HEALTH, PublicCalls
from berth.rpc.reflection import reflection_servicer
from berth.rpc.transports.context import Limited, Route, Routes, uncounted
from berth.rpc.transports.grpcio.server import CallLimit, GrpcRoutes, build_server
from berth.rpc.transports.http1.server import Http1Server

LOG = "log"
"""The name of the health of the log: Berth serves without it, but operators may want to know."""
_MAX_CONNECTIONS = "grpc.max_allowed_incoming_connections"
FINAL_GRACE_SECONDS = 1.0
"""Time to send the last responses, after all calls have ended."""
NOTICE_SECONDS = 2.0
"""How long balancers have to notice that the health is NOT_SERVING. grpc cancels calls that arrive after a shutdown."""


class Server:
    """Serves services, with health (overall and per service) and reflection.

    `json_bodies` is the internal service for JSON bodies of REST callers; health and reflection do
    not list it. Without `shares_port`, a second process on the same port fails; with it, a process
    of the same user can listen there, too, and connections are distributed between both. More than
    `max_connections` are closed at once; the own Envoy's do not count. `limited` counts calls that are
    refused before anything is known of their callers.
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
        max_connections: int | None = None,
        limited: Limited = uncounted,
    ) -> None:
        self._options = [("grpc.so_reuseport", int(shares_port))]
        self._running = RunningCalls()
        self._names = [service.full_name for service in services]
        self._health = health.aio.HealthServicer()
        outer = [self._running.intercept, *interceptors]
        self._routes: dict[str, Route] = {}
        for service, owner in services.items():
            self._routes |= service_routes(service, owner, admit=admit, interceptors=outer)
        if json_bodies is not None:
            self._routes |= json_routes(json_bodies, services, admit=admit, interceptors=outer)
        reflection = reflection_servicer([*self._names, HEALTH])
        self._public = PublicCalls(self._health, reflection, trust=trust, limited=limited)
        self._routes |= self._public.routes()
        limits = [] if max_connections is None else [(_MAX_CONNECTIONS, max_connections)]
        self._limited = limited
        self._limit = CallLimit(limited=limited)
        self._server = build_server(self._routes, [*self._options, *limits], self._limit)
        self._for_envoy: _Transport | None = None
        self._closing: list[asyncio.Task[None]] = []

    def add(self, routes: Routes) -> None:
        """Serve more methods, of which neither health nor reflection knows; before any address is bound."""
        self._routes |= routes
        self._server.add_generic_rpc_handlers([GrpcRoutes(routes, self._limit)])

    def bind(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen on `address`, "host:port" or "unix:path", and return the port. TLS is used with `credentials`.

        A port of 0 picks a free one. OSError if the address is taken.
        """
        with _os_errors(address):
            if credentials is not None:
                return self._server.add_secure_port(address, credentials)
            return self._server.add_insecure_port(address)

    def bind_for_envoy(self, path: str, *, over_http1: bool = False) -> None:
        """Listen on the Unix socket `path` for the own Envoy, which is served until `drain`, even without ports.

        With `over_http1`, Envoy sends gRPC over HTTP/1.1; OSError if the address is taken.
        """
        if over_http1:
            over_socket = Http1Server(self._routes, limited=self._limited)
            over_socket.bind(path)
            self._for_envoy = over_socket
            return
        server = build_server(self._routes, self._options, CallLimit(limited=self._limited))
        with _os_errors(path):
            server.add_insecure_port(f"unix:{path}")
        self._for_envoy = server

    async def start(self) -> None:
        """Start serving, and report SERVING as the health of every service."""
        for server in self._servers():
            await server.start()
        for name in ("", LOG, *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def report(self, *, is_serving: bool, service: str = "") -> None:
        """Report the health of a service, by default the overall health, until `resign` is called."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(service, status.SERVING if is_serving else status.NOT_SERVING)

    async def resign(self) -> None:
        """Report NOT_SERVING but keep answering, so that calls are sent elsewhere before they are refused here."""
        await self._health.enter_graceful_shutdown()

    async def give_notice(self) -> None:
        """Report NOT_SERVING, and take calls for NOTICE_SECONDS more if something checks the health.

        Not if there is an own Envoy, which has been drained before.
        """
        await self.resign()
        if self._for_envoy is None and self._public.was_checked():
            await asyncio.sleep(NOTICE_SECONDS)

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

    def _servers(self) -> "list[_Transport]":
        return [self._server] if self._for_envoy is None else [self._server, self._for_envoy]


class _Transport(Protocol):
    """What both transports have."""

    async def start(self) -> None:
        """Serve."""

    async def stop(self, grace: float | None) -> object:
        """Take no new calls, and cancel those that still run after `grace` seconds."""


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
