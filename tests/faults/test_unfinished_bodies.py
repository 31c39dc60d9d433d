"""Bodies that never end cost Envoy and the service little, and others are served meanwhile."""

import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from support.measuring.memory import MEBIBYTE, memory_mebibytes, reset_peaks
from support.measuring.processes import descendants_of
from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, KEY_B, Berth, running

SETTINGS = {
    "default_provider": "ollama",
    "auth": {
        "virtual_keys": [
            {"name": "a", "value": KEY_A, "tenant": "a"},
            {"name": "b", "value": KEY_B, "tenant": "b"},
        ]
    },
}
BODY_BYTES = 14 * MEBIBYTE
CLIENTS, STREAMS = times(80, 240), times(60, 100)
SECONDS = times(3, 15)
ENVOY_MEBIBYTES = 500
"""Half of the heap that Envoy may use before it refuses requests."""
SCRIPT = Path(__file__).parent.parent / "toolchains" / "node_http2" / "unfinished.mjs"


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[Berth]:
    with running(tmp_path, SETTINGS) as berth:
        yield berth


@soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("key", ["", KEY_A])
def test_unfinished_bodies_over_http1(berth: Berth, key: str) -> None:
    """Many clients that send uploads without an end leave Envoy far below its limit, and others are served."""
    with watched(berth, f"{CLIENTS} clients, HTTP/1.1"), ExitStack() as stack:
        head = f"POST {upload_path(berth)} HTTP/1.1\r\nHost: x\r\nContent-Length: {64 * MEBIBYTE}\r\n"
        head += f"Authorization: Bearer {key}\r\n\r\n" if key else "\r\n"
        send_for_a_while([connected(berth, stack) for _ in range(CLIENTS)], head.encode() + bytes(BODY_BYTES))


@soak
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js for HTTP/2")
@pytest.mark.parametrize("key", ["", KEY_A])
def test_unfinished_bodies_over_http2(berth: Berth, key: str) -> None:
    """So do many uploads without an end on one connection."""
    arguments: list[str | Path] = ["node", SCRIPT, berth.rest, upload_path(berth), key, str(STREAMS), str(BODY_BYTES)]
    with watched(berth, f"{STREAMS} streams, HTTP/2"), subprocess.Popen(arguments) as client:
        time.sleep(SECONDS)  # the load itself, not a condition
        client.kill()


def upload_path(berth: Berth) -> str:
    """Create a container; return the path for uploads to it."""
    headers = {"authorization": f"Bearer {KEY_A}"}
    answer = httpx2.post(
        f"{berth.rest}/v1/containers", json={"name": "x"}, headers=headers, timeout=30
    ).raise_for_status()
    return f"/v1/containers/{answer.json()['id']}/files?filename=endless"


@contextmanager
def watched(berth: Berth, name: str) -> Iterator[None]:
    """Check that Envoy's memory stays low, and that another tenant is served at the end of the context."""
    service, envoy = descendants_of(berth.process.pid)
    reset_peaks([service, envoy])
    yield
    others = httpx2.get(f"{berth.rest}/v1/containers", headers={"authorization": f"Bearer {KEY_B}"}, timeout=20)
    peaks = [memory_mebibytes([pid], "VmHWM") for pid in (service, envoy)]
    print(f"\n{name}: service {peaks[0]:.0f} MiB, Envoy {peaks[1]:.0f} MiB at most")  # noqa: T201 - figures of make soak
    assert others.status_code == 200
    assert peaks[1] < ENVOY_MEBIBYTES


def connected(berth: Berth, stack: ExitStack) -> socket.socket:
    """Return a connection to REST that does not block."""
    where = urlsplit(berth.rest)
    connection = stack.enter_context(socket.create_connection((where.hostname or "", where.port or 0)))
    connection.setblocking(False)
    return connection


def send_for_a_while(connections: list[socket.socket], data: bytes) -> None:
    """Send `data` on each connection as fast as it is taken, until it is sent or the time is over."""
    with selectors.DefaultSelector() as waiting:
        for connection in connections:
            waiting.register(connection, selectors.EVENT_WRITE, memoryview(data))
        end = time.monotonic() + SECONDS
        while waiting.get_map() and time.monotonic() < end:
            for key, _ in waiting.select(1):
                rest = key.data[send(key.fileobj, key.data) :]
                if rest:
                    waiting.modify(key.fileobj, selectors.EVENT_WRITE, rest)
                else:
                    waiting.unregister(key.fileobj)


def send(connection: object, data: memoryview) -> int:
    """Send what is taken at once; all counts as sent on a connection that was closed."""
    assert isinstance(connection, socket.socket)
    try:
        return connection.send(data[:MEBIBYTE])
    except BlockingIOError:
        return 0
    except OSError:
        return len(data)
