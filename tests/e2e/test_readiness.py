"""The overall health of a whole Berth: it says whether calls can be served now."""

import asyncio
import os
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from berth.app.readiness import probe_listener
from berth.launch.address import Address
from support.certs.authority import Authority
from support.clients.polling import health_of, wait_until
from support.servers.berth import UNCOUNTED
from support.servers.process import BerthProcess, running_berth

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def berth(folder: Path) -> Iterator[BerthProcess]:
    with running_berth("up", folder, inside=UNCOUNTED) as process:
        yield process


def test_a_locked_store_is_not_ready(berth: BerthProcess, folder: Path) -> None:
    """While another process keeps the database locked the health is NOT_SERVING, over REST, too; the log says why."""
    with closing(sqlite3.connect(folder / "berth.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_until(lambda: health_of(berth.ready["grpc"]) == NOT_SERVING)
        wait_until(lambda: "no answer from the store" in berth.errors)
        wait_until(lambda: berth.call("GET", "/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE)
        checks = {"store": "failed", "content": "ok", "listener": "ok"}
        assert berth.call("GET", "/readyz")[1] == {"status": "failed", "checks": checks}
        assert berth.call("GET", "/healthz") == (HTTPStatus.OK, {"status": "ok"})
    wait_until(lambda: health_of(berth.ready["grpc"]) == SERVING)
    wait_until(lambda: berth.call("GET", "/readyz")[0] == HTTPStatus.OK)


def test_a_hung_envoy_is_not_ready(berth: BerthProcess) -> None:
    """While Envoy hangs the health is NOT_SERVING; once it is restarted Berth is ready again."""
    (envoy,) = berth.children()
    os.kill(envoy, signal.SIGSTOP)
    wait_until(lambda: health_of(berth.ready["grpc"]) == NOT_SERVING)
    wait_until(lambda: "no answer from Envoy" in berth.errors)
    wait_until(lambda: health_of(berth.ready["grpc"]) == SERVING)
    assert berth.call("GET", "/v1/containers")[0] == 200


def test_envoy_answers_without_a_client_certificate(folder: Path, tmp_path: Path) -> None:
    """The check passes with TLS, too, even if Envoy requires certificates of its clients."""
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    environ = {"TLS__CERTIFICATE": certificate, "TLS__KEY": key, "TLS__CLIENT_CA": tmp_path / "ca.crt"}
    with running_berth("up", folder, environ={f"BERTH_{name}": str(path) for name, path in environ.items()}) as berth:
        address = Address.parse(berth.ready["rest"].removeprefix("https://"))
        asyncio.run(probe_listener(address, is_encrypted=True))
        with pytest.raises(EOFError):
            asyncio.run(probe_listener(address, is_encrypted=False))


@pytest.mark.parametrize("is_encrypted", [True, False])
def test_a_connection_alone_is_no_answer(*, is_encrypted: bool) -> None:
    """A listener whose process does nothing does not pass the check."""
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def probe() -> None:
            async with asyncio.timeout(0.5):
                await probe_listener(Address(*silent.getsockname()), is_encrypted=is_encrypted)

        with pytest.raises(TimeoutError):
            asyncio.run(probe())
