"""Build servers of grpc.aio: their limits, and their handlers."""

from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from grpc import StatusCode

from berth.rpc.transports.context import (
    MAX_CONCURRENT_CALLS,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    TOO_MANY_CALLS,
    TRANSPORT_LIMIT,
    Limited,
    Route,
    Routes,
    uncounted,
)
from berth.rpc.transports.grpcio.context import GrpcContext

SETTINGS_SECONDS = 10
"""How long a client may leave the settings of HTTP/2 unacknowledged, which those of gRPC acknowledge at once."""
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
    # For TLS and the beginning of HTTP/2: a peer that says nothing holds a descriptor. grpc's default is two minutes.
    ("grpc.server_handshake_timeout_ms", 20_000),
    # Until they are acknowledged, the limit of metadata is 16 MiB a connection. grpc's default is a minute.
    ("grpc.http2.settings_timeout", SETTINGS_SECONDS * 1000),
    # Clients may ping every 10 s, even when idle: meshes and long uploads do.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # As Envoy does with idle connections: those that are not used any more make room.
    ("grpc.max_connection_idle_ms", 600_000),
)


class CallLimit:
    """Allows at most `max_calls` at a time. grpc has such a limit, but does not say what it has refused.

    `limited` counts what is refused.
    """

    __slots__ = ("_limited", "_max_calls", "running")

    def __init__(self, max_calls: int = MAX_CONCURRENT_CALLS, limited: Limited = uncounted) -> None:
        self._max_calls = max_calls
        self._limited = limited
        self.running = 0

    def is_reached(self) -> bool:
        """Return whether another call is refused, and count it if it is."""
        if self.running < self._max_calls:
            return False
        self._limited(TRANSPORT_LIMIT)
        return True


def build_server(routes: Routes, options: Sequence[tuple[str, int]], limit: CallLimit | None = None) -> grpc.aio.Server:
    """Return a server of `routes` with OPTIONS and `options`, and with a limit of its own unless one is given."""
    server = grpc.aio.server(options=(*OPTIONS, *options))
    server.add_generic_rpc_handlers([GrpcRoutes(routes, limit or CallLimit())])
    return server


class GrpcRoutes(grpc.GenericRpcHandler):
    """Finds the handler of a call by its path. All routes of a server share a limit."""

    def __init__(self, routes: Routes, limit: CallLimit) -> None:
        self._handlers = {path: _handler(route, limit) for path, route in routes.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return the handler of a call, None for an unknown path."""
        return self._handlers.get(handler_call_details.method)


def _handler(route: Route, limit: CallLimit) -> "grpc.RpcMethodHandler[Any, Any]":
    handle = route.handle

    async def serve(_: object, context: "grpc.aio.ServicerContext[Any, Any]") -> bytes | None:
        if limit.is_reached():
            await context.abort(StatusCode.RESOURCE_EXHAUSTED, TOO_MANY_CALLS)
        limit.running += 1
        try:
            return await handle(GrpcContext(context))
        finally:
            limit.running -= 1

    build: Callable[..., grpc.RpcMethodHandler[Any, Any]] = (
        grpc.stream_stream_rpc_method_handler if route.is_stream else grpc.stream_unary_rpc_method_handler
    )
    return build(serve)
