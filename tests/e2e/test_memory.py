"""Files of any size, little memory: what 512 MiB up and down cost the service and Envoy together."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from running import KEY_A, Berth, running

MEBIBYTE = 1024 * 1024
FILE_MEBIBYTES = 512
BOUND_MEBIBYTES = 48
HEADERS = {"authorization": f"Bearer {KEY_A}"}
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}


def children(pid: int) -> list[int]:
    """Return the process `pid` and all below it."""
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in below for grandchild in children(int(child)))]


def memory_mebibytes(pids: list[int], field: str) -> float:
    """Return the sum of a memory field of /proc, such as VmRSS now or VmHWM at its peak, over `pids`."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1])
    return total / 1024


def reset_peaks(pids: list[int]) -> None:
    """Let VmHWM start again from what is resident now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def pieces(digest: "hashlib._Hash") -> Iterator[bytes]:
    for _ in range(FILE_MEBIBYTES):
        piece = os.urandom(64 * 1024) * 16
        digest.update(piece)
        yield piece


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[Berth]:
    with running(tmp_path, SETTINGS) as berth:
        yield berth


@pytest.mark.timeout(300)
def test_flat_memory(berth: Berth, capsys: pytest.CaptureFixture[str]) -> None:
    """512 MiB go up and come down with at most 48 MiB more memory in service and Envoy together."""
    pids = children(berth.process.pid)
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=120) as client:
        container = client.post("/v1/containers", json={"name": "big"}).json()["id"]
        small = client.post(f"/v1/containers/{container}/files?filename=warm", content=b"x").json()["id"]
        client.get(f"/v1/containers/{container}/files/{small}/content")
        at_rest = memory_mebibytes(pids, "VmRSS")
        reset_peaks(pids)
        sent = hashlib.sha256()
        file = client.post(f"/v1/containers/{container}/files?filename=big.bin", content=pieces(sent)).json()
        after_upload = memory_mebibytes(pids, "VmHWM")
        reset_peaks(pids)
        received = hashlib.sha256()
        with client.stream("GET", f"/v1/containers/{container}/files/{file['id']}/content") as response:
            for piece in response.iter_bytes():
                received.update(piece)
        after_download = memory_mebibytes(pids, "VmHWM")
    with capsys.disabled():
        print(  # noqa: T201 - figures for people
            f"\nmemory, service and Envoy: {at_rest:.0f} MiB at rest, "
            f"+{after_upload - at_rest:.1f} for {FILE_MEBIBYTES} MiB up, +{after_download - at_rest:.1f} down"
        )
    assert file["bytes"] == FILE_MEBIBYTES * MEBIBYTE
    assert received.digest() == sent.digest()
    assert max(after_upload, after_download) - at_rest <= BOUND_MEBIBYTES


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
