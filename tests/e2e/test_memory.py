"""Files of any size, and many at a time, little memory: what they cost the service and Envoy together."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from support.measuring.memory import (
    BOUND_MEBIBYTES,
    MEBIBYTE,
    cost_of_a_large_file,
    memory_mebibytes,
    reset_peaks,
)
from support.measuring.processes import descendants_of
from support.servers.berth import KEY_A, UNCOUNTED, Berth, running

HEADERS = {"authorization": f"Bearer {KEY_A}"}
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[Berth]:
    with running(tmp_path, SETTINGS, inside=UNCOUNTED) as berth:
        yield berth


@pytest.mark.timeout(300)
def test_flat_memory(berth: Berth, capsys: pytest.CaptureFixture[str]) -> None:
    """512 MiB go up and come down with at most 48 MiB more memory in service and Envoy together."""
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=120) as client:
        cost = cost_of_a_large_file(descendants_of(berth.process.pid), client)
    with capsys.disabled():
        print(f"\nmemory, service and Envoy: {cost}")  # noqa: T201 - figures for people
    assert max(cost.upload, cost.download) <= 48


@pytest.mark.timeout(300)
def test_many_uploads(berth: Berth, capsys: pytest.CaptureFixture[str]) -> None:
    """16 forms with 64 MiB each go up at once with at most 96 MiB more memory in service and Envoy together."""
    pids = descendants_of(berth.process.pid)
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=240) as client:
        upload(client, b"warm")
        at_rest = memory_mebibytes(pids, "VmRSS")
        reset_peaks(pids)
        contents = [os.urandom(MEBIBYTE) + bytes(63 * MEBIBYTE) for _ in range(16)]
        with ThreadPoolExecutor(16) as threads:
            sizes = list(threads.map(lambda content: upload(client, content), contents))
    more = memory_mebibytes(pids, "VmHWM") - at_rest
    with capsys.disabled():
        print(f"\nmemory, service and Envoy: +{more:.1f} for 16 x 64 MiB up at once")  # noqa: T201 - figures for people
    assert sizes == [64 * MEBIBYTE] * 16
    assert more <= 96


def upload(client: httpx2.Client, content: bytes) -> int:
    """Send a file as a form; return how large it is where it arrived."""
    answer = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("many.bin", content)})
    size: int = answer.raise_for_status().json()["bytes"]
    return size


@pytest.mark.timeout(300)
def test_slow_reader(berth: Berth) -> None:
    """A client that asks for a large file and does not read it costs no more than its buffers."""
    pids = descendants_of(berth.process.pid)
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=120) as client:
        container = client.post("/v1/containers", json={"name": "slow"}).json()["id"]
        content = (bytes(MEBIBYTE) for _ in range(128))
        file = client.post(f"/v1/containers/{container}/files?filename=slow.bin", content=content).json()["id"]
        reset_peaks(pids)
        at_rest = memory_mebibytes(pids, "VmRSS")
        where = urlsplit(berth.rest)
        with socket.create_connection((where.hostname or "", where.port or 0)) as reader:
            path = f"/v1/containers/{container}/files/{file}/content"
            reader.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY_A}\r\n\r\n".encode())
            reader.recv(1)
            for _ in range(200):  # work for others, while the reader does not read
                client.get(f"/v1/containers/{container}")
            assert memory_mebibytes(pids, "VmHWM") - at_rest <= BOUND_MEBIBYTES


def test_what_is_not_used_is_not_loaded(tmp_path: Path) -> None:
    """A first start leaves no library in memory that migrates, and none for certificates or providers without any."""
    (tmp_path / "data").mkdir(mode=0o700)  # so that there is no database yet
    with running(tmp_path, {"auth": {"allow_direct_keys": False}}, inside=UNCOUNTED) as berth:
        loaded = Path(f"/proc/{berth.process.pid}/maps").read_text()
        at_rest = memory_mebibytes([berth.process.pid], "VmRSS")
    assert "/grpc/" in loaded
    assert [name for name in ("alembic", "sqlalchemy", "aiohttp", "cryptography") if f"/{name}/" in loaded] == []
    assert at_rest <= 95
