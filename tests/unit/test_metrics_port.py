"""The port that serves metrics, before callers that send strange things, or little."""

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection

import pytest
from prometheus_client import CollectorRegistry

from berth.adapters.prometheus.server import MAX_CONNECTIONS, metrics_server
from support.clients.polling import wait_until

HOST = "127.0.0.1"


@pytest.fixture
def port() -> Iterator[int]:
    """Serve no metrics on a port where connections make room for others at once."""
    with metrics_server(CollectorRegistry(), HOST, 0, accepts_ipv4=False, max_seconds=0) as server:
        yield server.server_port


def _status(port: int, accept: str = "*/*") -> int:
    with closing(HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("GET", "/metrics", headers={"accept": accept})
        return connection.getresponse().status


@pytest.mark.parametrize("version", ["a", "1.0.0a", "1..0", "", "9" * 5000, "1.0.0; escaping=x", "0x1.0.0"])
def test_a_strange_accept_means_any_format(port: int, capfd: pytest.CaptureFixture[str], version: str) -> None:
    """A version that cannot be read is no failure, and nothing is written among the lines of the log."""
    assert _status(port, f"application/openmetrics-text; version={version}") == 200
    assert capfd.readouterr().err == ""


def test_slow_connections_make_room(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """When connections that do not finish their requests take all places, the next scrape is answered all the same."""
    with ExitStack() as slow:
        for _ in range(MAX_CONNECTIONS):
            slow.enter_context(socket.create_connection((HOST, port), timeout=30)).sendall(b"GET /metr")
        assert _status(port) == 200
    assert _status(port) == 200
    assert capfd.readouterr().err == ""


def test_a_connection_that_fails_is_no_news(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A connection that is reset while its request is read leaves no traceback among the lines of the log."""
    with closing(socket.create_connection((HOST, port), timeout=30)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET /metr")
        wait_until(lambda: _status(port) == 200)  # by then it is read
    assert _status(port) == 200
    assert capfd.readouterr().err == ""
