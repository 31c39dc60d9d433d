"""Pulling the plug: the service ends without warning while files are on their way."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, running, start
from support.servers.s3 import S3

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}


@dataclass(frozen=True)
class Kept:
    """Where a Berth keeps rows and content: its settings, the command that it runs inside, and what reads all blobs."""

    settings: Mapping[str, object]
    inside: Sequence[str]
    blobs: Callable[[], list[bytes]]


@pytest.fixture(params=["a folder", "servers"])
def kept_in(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Keep rows and content in a folder, and in PostgreSQL and S3."""
    if request.param == "a folder":
        folder = tmp_path / "data" / "blobs"
        return Kept(SETTINGS, (), lambda: [path.read_bytes() for path in folder.rglob("*") if path.is_file()])
    bucket: S3 = request.getfixturevalue("s3")
    store = {"store": {"url": request.getfixturevalue("postgres").fresh()}}
    return Kept(SETTINGS | store | bucket.settings, bucket.inside, lambda: list(map(bucket.content, bucket.objects())))


@pytest.fixture(params=range(times(1, 20)))
def repeated() -> None:
    """Repeat a test in its long form."""


@soak
@pytest.mark.usefixtures("repeated")
def test_killed_during_upload(tmp_path: Path, kept_in: Kept) -> None:
    """After kill -9 in the middle of an upload and a restart there is no such file, and earlier ones are intact."""
    berth = start(tmp_path, kept_in.settings, inside=kept_in.inside)
    half_sent, killed = threading.Event(), threading.Event()

    def body() -> Iterator[bytes]:
        for _ in range(64):
            yield os.urandom(256 * 1024)
        half_sent.set()
        assert killed.wait(30)
        yield b"the rest"

    def kill() -> None:
        assert half_sent.wait(30)
        berth.process.send_signal(signal.SIGKILL)
        berth.process.wait()
        killed.set()

    killer = threading.Thread(target=kill)
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client:
        container = client.post("/v1/containers", json={"name": "plug"}).json()["id"]
        files = f"/v1/containers/{container}/files"
        kept = client.post(f"{files}?filename=kept.bin", content=b"kept" * 1000).json()
        killer.start()
        with pytest.raises(httpx2.HTTPError):
            client.post(f"{files}?filename=lost.bin", content=body()).raise_for_status()
    killer.join()
    assert berth.process.stdout is not None
    berth.process.stdout.close()

    with (
        running(tmp_path, kept_in.settings, inside=kept_in.inside) as again,
        httpx2.Client(base_url=again.rest, headers=HEADERS, timeout=30) as client,
    ):
        listed = client.get(files).json()
        assert [file["id"] for file in listed["data"]] == [kept["id"]]
        assert client.get(f"{files}/{kept['id']}/content").content == b"kept" * 1000
        assert kept_in.blobs() == [b"kept" * 1000]
