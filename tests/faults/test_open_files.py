"""Open files and connections: idle connections cannot use them up, and deletes need no file."""

import re
import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import httpx2
import pytest

from berth.launch.process.connections import CHECK_SECONDS
from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import PROVIDER_OLLAMA
from support.clients.polling import health_of, wait_until
from support.servers.berth import Berth, running, transport

LIMIT = 256
SHARES = transport() == "http1"
MOST_CONNECTIONS = 64 if SHARES else 128
"""What Berth accepts with that limit: half of it, see `launch/process/open_files.py`. Over HTTP/1.1 connections between
Envoy and the service take half of that."""
REQUESTS = 16
"""What Envoy then sends to the service at a time over HTTP/1.1, on at most half of 64 connections, two for each."""
IDLE = 300
FEW = 20
"""How many connections an address may have in the test about that."""
SERVING = 1
IDLE_SECONDS = 5.0
"""After which time Envoy closes connections, though not beyond the limit, if it has many: they have said nothing."""


def limited(*, soft: int, hard: int) -> tuple[str, ...]:
    """Return a command that sets the limits of open files, and becomes the command after it."""
    return ("sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "sh")


@contextmanager
def idle_connections(address: str) -> Iterator[list[socket.socket]]:
    """Hold connections that never say anything."""
    host, _, port = address.rpartition(":")
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, int(port)), timeout=30)) for _ in range(IDLE)]


def status(berth: Berth) -> int:
    headers = {"authorization": f"Bearer {berth.virtual_key}"}
    return httpx2.get(f"{berth.rest}/v1/containers", headers=headers, timeout=30).status_code


def answers(berth: Berth) -> bool:
    """Return whether REST answers: Envoy notices closed connections a moment later."""
    try:
        return status(berth) == 200
    except httpx2.TransportError:
        return False


def uploads(berth: Berth) -> bool:
    """Return whether a file can be uploaded over REST, which takes an open file, too."""
    headers = {"authorization": f"Bearer {berth.virtual_key}"}
    form, file = {"purpose": "assistants"}, {"file": ("a", b"a")}
    return httpx2.post(f"{berth.rest}/v1/files", headers=headers, data=form, files=file, timeout=30).status_code == 200


def is_listed(berth: Berth) -> bool:
    """Return whether containers can be listed over gRPC."""
    request, metadata = ListContainersRequest(provider=PROVIDER_OLLAMA), (("x-bf-vk", str(berth.virtual_key)),)
    with grpc.insecure_channel(berth.grpc) as channel:
        stub = ContainerServiceStub(channel)
        return stub.ListContainers(request, metadata=metadata, timeout=30, wait_for_ready=True) is not None


def is_healthy(address: str) -> bool:
    try:
        return health_of(address) == SERVING
    except grpc.RpcError:
        return False


def test_idle_connections_cannot_use_up_open_files(tmp_path: Path) -> None:
    """The soft limit is raised; connections beyond half of the hard one are closed, and others go on."""
    settings = {"default_provider": "ollama", "listen": {"max_connections_per_address": IDLE}}
    with running(tmp_path, settings, inside=limited(soft=64, hard=LIMIT)) as berth:
        rest = berth.rest.removeprefix("http://")
        for address in (berth.grpc, rest):
            begun = time.monotonic()
            with idle_connections(address) as held:
                wait_until(lambda held=held: sum(map(is_closed, held)) >= IDLE - MOST_CONNECTIONS)  # type: ignore[misc]
                closed = sum(map(is_closed, held)) - (IDLE - MOST_CONNECTIONS)
                assert closed <= 5 or time.monotonic() - begun >= IDLE_SECONDS  # readiness checks have some, too
                if address == rest:
                    assert is_listed(berth)
                else:
                    assert uploads(berth)
                    assert SHARES or berth.lines(event="files.scarce")[0]["limit"] == LIMIT
            wait_until(lambda: answers(berth))
        assert is_healthy(berth.grpc)
        assert SHARES or berth.lines(event="files.enough")
        assert berth.lines(event="envoy.restarted", count=0) == []


def test_an_address_has_few_connections(tmp_path: Path) -> None:
    """Those that were silent for the longest time are closed, one in use goes on, and other addresses are served."""
    settings = {"default_provider": "ollama", "listen": {"max_connections_per_address": FEW}}
    with running(tmp_path, settings) as berth, grpc.insecure_channel(berth.grpc) as channel:
        stub, metadata = ContainerServiceStub(channel), (("x-bf-vk", str(berth.virtual_key)),)
        with idle_connections(berth.grpc) as held:

            def excess_is_closed() -> bool:
                stub.ListContainers(ListContainersRequest(), metadata=metadata, timeout=30)
                return sum(map(is_closed, held)) >= IDLE - FEW + 1

            wait_until(excess_is_closed)
            host, _, port = berth.grpc.rpartition(":")
            with socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0)) as other:
                closed = berth.lines(event="connections.closed")[0]
                assert (closed["address"], closed["limit"]) == ("127.0.0.1", FEW)
                other.settimeout(30)
                other.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                assert other.recv(9)


def test_connections_are_counted_again_when_files_can_be_opened(tmp_path: Path) -> None:
    """While there is no descriptor for looking at connections, none is closed; afterwards the excess is."""
    settings = {"default_provider": "ollama", "listen": {"max_connections_per_address": FEW}}
    with running(tmp_path, settings) as berth:
        pid = berth.process.pid
        _, hard = before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW + 10, hard))
        berth.lines(event="files.scarce")
        time.sleep(1.5 * CHECK_SECONDS)  # the connections are looked at meanwhile
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        with idle_connections(berth.grpc):
            assert berth.lines(event="connections.closed")


@contextmanager
def unfinished_uploads(berth: Berth, number: int) -> Iterator[list[socket.socket]]:
    """Hold uploads that do not end, each on a connection of its own."""
    host, _, port = berth.rest.removeprefix("http://").rpartition(":")
    head = f"POST /v1/files?filename=a&purpose=batch HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {berth.virtual_key}"
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection((host, int(port)), timeout=30)) for _ in range(number)]
        for connection in held:
            connection.sendall(f"{head}\r\ncontent-length: 9\r\n\r\na".encode())
        yield held


def refusals(berth: Berth, reason: str) -> float:
    """Return how much Envoy has refused by itself, as the metrics say."""
    assert berth.metrics is not None
    found = re.search(
        rf'berth_gateway_refusals_total{{reason="{reason}"}} (\S+)', httpx2.get(berth.metrics, timeout=30).text
    )
    return float(found[1]) if found else -1.0


@pytest.mark.skipif(not SHARES, reason="over HTTP/2 there is no limit as low as this")
def test_what_envoy_refuses_by_itself_is_counted(tmp_path: Path) -> None:
    """Requests and connections beyond the limits of Envoy, which the service never sees, are in the metrics."""
    settings = {"default_provider": "ollama", "listen": {"metrics": "127.0.0.1:0"}}
    with running(tmp_path, settings, inside=limited(soft=64, hard=LIMIT)) as berth:
        assert (refusals(berth, "requests"), refusals(berth, "connections")) == (0, 0)
        with unfinished_uploads(berth, REQUESTS + 8) as held:
            refused, _, _ = select.select(held, [], [], 30)
            wait_until(lambda: refusals(berth, "requests") == 8)
            assert {connection.recv(12) for connection in refused} == {b"HTTP/1.1 503"}
        with idle_connections(berth.rest.removeprefix("http://")):
            wait_until(lambda: refusals(berth, "connections") > 0)
        assert refusals(berth, "memory") == 0


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection."""
    connection.setblocking(False)
    try:
        return connection.recv(4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def unused_descriptor(pid: int) -> int:
    """Return the number that the next open file of a process would have."""
    used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    return min(set(range(len(used) + 1)) - used)


def test_a_delete_needs_no_open_file(tmp_path: Path) -> None:
    """Content that cannot be removed for lack of a descriptor does not fail a delete, and the log says what is left."""
    with (
        running(tmp_path, {"default_provider": "ollama"}) as berth,
        httpx2.Client(
            base_url=berth.rest, headers={"authorization": f"Bearer {berth.virtual_key}"}, timeout=30
        ) as client,
    ):
        made = client.post("/v1/files?filename=a&purpose=batch", content=b"a").raise_for_status().json()["id"]
        assert client.get(f"/v1/files/{made}").status_code == 200  # Envoy is connected to the service
        _, hard = before = resource.prlimit(berth.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(berth.process.pid, resource.RLIMIT_NOFILE, (unused_descriptor(berth.process.pid), hard))
        assert client.delete(f"/v1/files/{made}").status_code == 200
        resource.prlimit(berth.process.pid, resource.RLIMIT_NOFILE, before)
        assert client.get(f"/v1/files/{made}").status_code == 404
        assert "Too many open files" in berth.lines(event="blobs.left")[0]["cause"]
        assert berth.lines(event="storage.failed", count=0) == []
