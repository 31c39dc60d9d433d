"""How much memory processes take, and what it costs them to pass a large file on."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

MEBIBYTE = 1024 * 1024
FILE_MEBIBYTES = 512
BOUND_MEBIBYTES = 48


@dataclass(frozen=True)
class Cost:
    """Memory in MiB: at rest, and how much more while a large file went up, and while it came down."""

    at_rest: float
    upload: float
    download: float

    def __str__(self) -> str:
        """Tell the figures to people."""
        return (
            f"{self.at_rest:.0f} MiB at rest, +{self.upload:.1f} for {FILE_MEBIBYTES} MiB up, +{self.download:.1f} down"
        )


def memory_mebibytes(pids: list[int], field: str) -> float:
    """Return the sum of a memory field of /proc, such as VmRSS now or VmHWM at its peak, over `pids`."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                total += int(line.split()[1])
    return total / 1024


def pss_mebibytes(pid: int) -> float:
    """Return the memory that a process has for itself, and its share of what it has with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def reset_peaks(pids: list[int]) -> None:
    """Let VmHWM start again from what is resident now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def cost_of_a_large_file(pids: list[int], client: httpx2.Client) -> Cost:
    """Send a large file up and down, make sure that it is the same, and return what that cost `pids`."""
    container = client.post("/v1/containers", json={"name": "big"}).json()["id"]
    files = f"/v1/containers/{container}/files"
    small = client.post(f"{files}?filename=warm", content=b"x").json()["id"]
    client.get(f"{files}/{small}/content")
    at_rest = memory_mebibytes(pids, "VmRSS")
    reset_peaks(pids)
    sent = hashlib.sha256()
    file = client.post(f"{files}?filename=big.bin", content=_pieces(sent)).json()
    assert file["bytes"] == FILE_MEBIBYTES * MEBIBYTE
    after_upload = memory_mebibytes(pids, "VmHWM")
    reset_peaks(pids)
    assert _digest_of(client, f"{files}/{file['id']}/content") == sent.digest()
    after_download = memory_mebibytes(pids, "VmHWM")
    return Cost(at_rest, after_upload - at_rest, after_download - at_rest)


def _pieces(digest: "hashlib._Hash") -> Iterator[bytes]:
    for _ in range(FILE_MEBIBYTES):
        piece = os.urandom(64 * 1024) * 16
        digest.update(piece)
        yield piece


def _digest_of(client: httpx2.Client, path: str) -> bytes:
    received = hashlib.sha256()
    with client.stream("GET", path) as response:
        for piece in response.iter_bytes():
            received.update(piece)
    return received.digest()
