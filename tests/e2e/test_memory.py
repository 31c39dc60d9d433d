"""Files of any size, little memory: what 512 MiB up and down cost the service and Envoy together."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from memory import BOUND_MEBIBYTES, MEBIBYTE, children, cost_of_a_large_file, memory_mebibytes, reset_peaks
from running import KEY_A, Berth, running

HEADERS = {"authorization": f"Bearer {KEY_A}"}
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[Berth]:
    with running(tmp_path, SETTINGS) as berth:
        yield berth


@pytest.mark.timeout(300)
def test_flat_memory(berth: Berth, capsys: pytest.CaptureFixture[str]) -> None:
    """512 MiB go up and come down with at most 48 MiB more memory in service and Envoy together."""
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=120) as client:
        cost = cost_of_a_large_file(children(berth.process.pid), client)
    with capsys.disabled():
        print(f"\nmemory, service and Envoy: {cost}")  # noqa: T201 - figures for people
    assert max(cost.upload, cost.download) <= 48


@pytest.mark.timeout(300)
def test_slow_reader(berth: Berth) -> None:
    """A client that asks for a large file and does not read it costs no more than its buffers."""
    pids = children(berth.process.pid)
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
