"""Callers without a credential: what they can take, and what it costs the others."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from berth.rest.envoy.edge import EdgeSettings, Tls
from support.certs.authority import Authority
from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.stand_in import stand_in_behind_envoy

CONNECTIONS = times(200, 10_000)
SERVED_WITHIN_SECONDS = 15
WITHOUT_HANDSHAKE_SECONDS = 4
"""Less than the five seconds after which idle connections are closed at the earliest."""


@soak
async def test_idle_connections_make_room(tmp_path: Path) -> None:
    """Idle connections are closed early when there are many: newcomers are served within 15 s, one in use stays."""
    settings = EdgeSettings(access_log_path=None, max_connections=CONNECTIONS)
    async with (
        stand_in_behind_envoy(tmp_path / "run", settings) as edge,
        httpx2.AsyncClient(base_url=edge.rest, timeout=30) as used,
    ):
        with ExitStack() as idle:
            for _ in range(CONNECTIONS - 1):
                idle.enter_context(socket.create_connection(("127.0.0.1", edge.port)))
            assert (await used.get("/v1/containers")).status_code == 200
            async with asyncio.timeout(SERVED_WITHIN_SECONDS):
                while not await _is_served(edge.rest):
                    assert (await used.get("/v1/containers")).status_code == 200
                    await asyncio.sleep(0.2)


async def test_connections_without_a_handshake_make_room_first(tmp_path: Path) -> None:
    """On a full listener, connections that send nothing for TLS are closed within seconds, before idle ones."""
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    tls = Tls(str(certificate), str(key))
    settings = EdgeSettings(access_log_path=None, max_connections=100, tls=tls)
    async with stand_in_behind_envoy(tmp_path / "run", settings) as edge:
        with ExitStack() as idle:
            for _ in range(100):
                idle.enter_context(socket.create_connection(("127.0.0.1", edge.port)))
            async with asyncio.timeout(WITHOUT_HANDSHAKE_SECONDS):
                while not await _is_served(f"https://127.0.0.1:{edge.port}", authority.trusting(tmp_path)):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.2)


async def _is_served(rest: str, verify: ssl.SSLContext | None = None) -> bool:
    async with httpx2.AsyncClient(base_url=rest, verify=verify or ssl.create_default_context(), timeout=30) as newcomer:
        try:
            return (await newcomer.get("/v1/containers")).status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    with running(tmp_path_factory.mktemp("impatient"), {**SETTINGS, "listen": {"json_seconds": 1}}) as berth:
        yield berth


def _answer(berth: Berth, head: str) -> str:
    """Send the beginning of a request and nothing more; return the status line of the answer."""
    where = urlsplit(berth.rest)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(head.replace("\n", "\r\n").encode())
        return connection.recv(100).decode().partition("\r\n")[0]


@pytest.mark.parametrize(
    ("line", "key", "status"),
    [
        ("POST /v1/containers", KEY_A, "408 Request Timeout"),
        ("GET /v1/containers", KEY_A, "408 Request Timeout"),
        ("POST /v1/containers", "", "401 Unauthorized"),
        ("GET /v1/containers", "", "401 Unauthorized"),
        ("POST /v1/containers/cntr_1/files", "", "401 Unauthorized"),
        ("POST /v1/nothing", KEY_A, "404 Not Found"),
    ],
)
def test_a_body_that_does_not_come_is_not_waited_for(impatient: Berth, line: str, key: str, status: str) -> None:
    """A JSON body has its total time, a GET ten seconds; strangers and unknown paths are answered at once."""
    body = '{"name": ' if line == "POST /v1/containers" else ""
    head = f"{line} HTTP/1.1\nHost: x\nx-bf-vk: {key}\nContent-Type: application/json\nContent-Length: 100\n\n{body}"
    assert _answer(impatient, head).endswith(status)


def test_a_flood_of_refusals_is_sampled_in_the_log(impatient: Berth) -> None:
    """Of 300 calls without a key Envoy's log has a part; of others it has each one."""
    headers = {"authorization": f"Bearer {KEY_A}"}
    with httpx2.Client(base_url=impatient.rest, timeout=30) as client:
        assert {client.get("/v1/containers").status_code for _ in range(300)} == {401}
        assert {client.get("/v1/containers?limit=0", headers=headers).status_code for _ in range(10)} == {400}
    impatient.lines(10, event="request.proxied", status=400)
    assert len(impatient.lines(0, event="request.proxied", status=401)) < 100
