"""Callers without a credential: what they can take, and what it costs the others."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import httpx2
import pytest

from berth.rest.envoy.access_log import GIVEN_UP_AT_ONCE_MILLISECONDS
from berth.rest.envoy.edge import EdgeSettings, Tls
from berth.rest.envoy.overload import MAX_RESETS
from support.certs.authority import Authority
from support.clients.http2 import reset_gets
from support.clients.polling import wait_until
from support.measuring.soak import only_long, soak, times
from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.stand_in import stand_in_behind_envoy

CONNECTIONS = times(200, 10_000)
SERVED_WITHIN_SECONDS = 15
WITHOUT_HANDSHAKE_SECONDS = 4
"""Less than the five seconds after which idle connections are closed at the earliest."""
FLOODS, CALLS, HANDSHAKES = 6, 60, 1000
USUAL_SECONDS, TIMES_SLOWER = 0.06, 10
"""Half of the calls of others take less during a flood, or no more than so many times what they take without one."""


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


def _send(berth: Berth, data: bytes) -> None:
    """Send bytes on a connection of their own, and wait until Berth closes it or nothing more comes for a second."""
    where = urlsplit(berth.rest)
    with socket.create_connection((where.hostname, where.port), timeout=1) as connection, suppress(OSError):
        connection.sendall(data)
        while connection.recv(65_536):
            pass


@contextmanager
def _flooded(berth: Berth, data: bytes) -> Iterator[None]:
    """Send bytes again and again, on several connections at a time."""
    ended = threading.Event()

    def flood() -> None:
        while not ended.is_set():
            _send(berth, data)

    threads = [threading.Thread(target=flood) for _ in range(FLOODS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _seconds(client: httpx2.Client) -> list[float]:
    seconds = []
    for _ in range(CALLS):
        began = time.monotonic()
        client.get("/v1/containers").raise_for_status()
        seconds.append(time.monotonic() - began)
    return seconds


async def test_a_client_that_only_resets_requests_is_disconnected(tmp_path: Path) -> None:
    """A connection of which 101 requests were reset at once is closed; one with a hundred such requests stays."""
    async with stand_in_behind_envoy(tmp_path / "run", EdgeSettings(access_log_path=None)) as edge:
        for count, is_closed in ((MAX_RESETS, False), (MAX_RESETS + 1, True)):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(reset_gets("/v1/containers", count))
            reading = asyncio.ensure_future(reader.read())
            await asyncio.wait([reading], timeout=2)
            was_closed = reading.done()
            writer.close()
            await asyncio.wait([reading])
            assert was_closed == is_closed, count


@soak
@only_long("it compares times")
def test_requests_that_are_reset_at_once_slow_nobody_down(impatient: Berth) -> None:
    """While strangers send requests and reset each at once, half of the calls of others take as long as usual."""
    headers = {"authorization": f"Bearer {KEY_A}"}
    with httpx2.Client(base_url=impatient.rest, headers=headers, timeout=30) as client:
        without = median(_seconds(client))
        with _flooded(impatient, reset_gets("/v1/containers", 20_000)):
            assert median(_seconds(client)) < max(USUAL_SECONDS, TIMES_SLOWER * without)


def test_a_flood_of_resets_is_sampled_in_the_log(impatient: Berth) -> None:
    """Of 300 requests that are reset at once Envoy's log has a part; one that is given up later has its line."""
    for _ in range(6):
        _send(impatient, reset_gets("/v1/containers/reset", 50))
    where = urlsplit(impatient.rest)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(
            f"GET /v1/containers HTTP/1.1\r\nHost: x\r\nx-bf-vk: {KEY_A}\r\nContent-Length: 9\r\n\r\n".encode()
        )
        connection.settimeout(GIVEN_UP_AT_ONCE_MILLISECONDS / 1000 + 0.2)
        with pytest.raises(TimeoutError):  # it waits for the body
            connection.recv(1)
    impatient.lines(1, event="request.proxied", status=0, path="/v1/containers")
    assert len(impatient.lines(0, event="request.proxied", status=0, path="/v1/containers/reset")) < 100


def _hello() -> bytes:
    """Return the first message of a TLS handshake."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="berth").do_handshake()
    return outgoing.read()


@soak
@only_long("it compares times")
def test_half_handshakes_do_not_hold_up_open_connections(tmp_path: Path) -> None:
    """While strangers begin TLS handshakes and finish none, no call on an open connection waits for half a second."""
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    tls = {"certificate": str(certificate), "key": str(key)}
    verify, headers = authority.trusting(tmp_path), {"authorization": f"Bearer {KEY_A}"}
    with (
        running(tmp_path, {**SETTINGS, "tls": tls}) as berth,
        httpx2.Client(base_url=berth.rest, headers=headers, verify=verify, timeout=30) as client,
    ):
        client.get("/v1/containers").raise_for_status()
        with _half_handshakes(berth):
            assert max(_seconds(client)) < 0.5


@contextmanager
def _half_handshakes(berth: Berth) -> Iterator[None]:
    """Begin handshakes, on several connections at a time and as many as there can be, and keep the connections."""
    ended, hello, where = threading.Event(), _hello(), urlsplit(berth.rest)
    begun = list[socket.socket]()

    def flood(kept: ExitStack) -> None:
        while not ended.is_set():
            with suppress(OSError):
                connection = socket.create_connection((where.hostname, where.port), timeout=1)
                kept.enter_context(connection).sendall(hello)
                begun.append(connection)

    with ExitStack() as kept:
        threads = [threading.Thread(target=flood, args=(kept,)) for _ in range(FLOODS)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(begun) > HANDSHAKES)
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()
