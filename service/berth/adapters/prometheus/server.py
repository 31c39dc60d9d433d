"""The HTTP server that Prometheus collects metrics from. It works in threads of its own, with bounded patience."""

import errno
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

IDLE_SECONDS = 30
"""How long a connection may be silent."""
MAX_CONNECTIONS = 32
"""How many connections there may be at a time; more are closed at once."""
_PAUSE_SECONDS = 0.2
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}


class _Handler(WSGIRequestHandler):
    timeout = IDLE_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class _Server(ThreadingWSGIServer):
    """Listens on IPv4, and does not spin while the process has no descriptor for a connection that waits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._free = Semaphore(MAX_CONNECTIONS)
        super().__init__(*args, **kwargs)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - the base class's
        """Return whether there is room for a connection."""
        return self._free.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

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
def metrics_server(registry: CollectorRegistry, host: str, port: int, *, accepts_ipv4: bool) -> Iterator[WSGIServer]:
    """Serve the metrics of `registry` while the context lasts. OSError if the port cannot be opened."""
    kind = _ServerOnBoth if accepts_ipv4 else _ServerOnIpv6 if ":" in host else _Server
    server = make_server(host, port, make_wsgi_app(registry), kind, handler_class=_Handler)
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
