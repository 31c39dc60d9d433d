"""The HTTP server that Prometheus collects metrics from. It works in threads of its own, with bounded patience."""

import errno
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Semaphore, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

IDLE_SECONDS = 30
"""How long a connection may be silent."""
MAX_CONNECTIONS = 32
"""How many connections there may be at a time; more are closed at once, unless an old one makes room."""
MAX_SECONDS = 30
"""How long a connection may last if there is no room for another one. One that sends a byte at times is not idle."""
_ROOM_SECONDS = 1.0
_PAUSE_SECONDS = 0.2
App = Callable[[dict[str, Any], Any], Iterable[bytes]]
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class _Server(ThreadingWSGIServer):
    """Listens on IPv4, and does not spin while the process has no descriptor for a connection that waits."""

    max_seconds: float = MAX_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._free = Semaphore(MAX_CONNECTIONS)
        self._begun: dict[socket.socket, float] = {}  # oldest first
        super().__init__(*args, **kwargs)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base class's
        """Return whether there is room for a connection; a connection that has lasted for too long makes room."""
        has_room = self._free.acquire(blocking=False) or (
            self._end_oldest() and self._free.acquire(timeout=_ROOM_SECONDS)
        )
        if has_room:
            self._begun[request] = time.monotonic()
        return has_room

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._begun[request]
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless a connection has failed or has been silent for too long: that is no news."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def _end_oldest(self) -> bool:
        """End the oldest connection if it has lasted for `max_seconds`; return whether it was ended."""
        request, begun = next(iter(list(self._begun.items())), (None, 0.0))
        if request is None or time.monotonic() - begun < self.max_seconds:
            return False
        with suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)
        return True

    def get_request(self) -> Any:
        """Accept a connection."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _NO_DESCRIPTOR:
                time.sleep(_PAUSE_SECONDS)
            raise


class _ServerOnIpv6(_Server):
    """Listens on IPv6 alone, whatever the system's default is."""

    address_family = socket.AF_INET6
    ipv6_only = True

    def server_bind(self) -> None:
        """Bind the socket."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, self.ipv6_only)
        super().server_bind()


class _ServerOnBoth(_ServerOnIpv6):
    """Listens on IPv6 and IPv4."""

    ipv6_only = False


@contextmanager
def metrics_server(
    registry: CollectorRegistry, host: str, port: int, *, accepts_ipv4: bool, max_seconds: float = MAX_SECONDS
) -> Iterator[WSGIServer]:
    """Serve the metrics of `registry` while the context lasts. OSError if the port cannot be opened.

    A connection that has lasted for `max_seconds` makes room for another one.
    """
    kind = _ServerOnBoth if accepts_ipv4 else _ServerOnIpv6 if ":" in host else _Server
    server = make_server(host, port, _app(registry), kind, handler_class=_Handler)
    server.max_seconds = max_seconds
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _app(registry: CollectorRegistry) -> App:
    """Return the application that serves the metrics; an `Accept` that cannot be read means any format."""
    serve: App = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            return serve(environ, start_response)
        except (TypeError, ValueError):  # of a version that is no number
            return serve({**environ, "HTTP_ACCEPT": "*/*"}, start_response)

    return app
