"""Real disks that are full: what does not fit is refused, leaves nothing, and takes nothing from what comes next.

Each disk is a small one in memory, mounted for Berth alone, in namespaces of its own.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from google.api.httpbody_pb2 import HttpBody

from berth.v1.error_pb2 import ErrorReply
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.file_service_pb2_grpc import FileServiceStub
from berth.v1.provider_pb2 import Provider
from support.servers.berth import KEY_A, Berth, running
from support.servers.service import eventually

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
MIB = 1024 * 1024
DISK = 4 * MIB
KEY = (("x-bf-vk", KEY_A),)
MOUNT = ("unshare", "--user", "--map-root-user", "--mount")
SMALL_DISK = (*MOUNT, "sh", "-c", f'mount -t tmpfs -o size={DISK},mode=700 none "$0" && exec "$@"')

Upload = Callable[[Berth, int], tuple[int, str | None, str]]
"""Sends a file of some bytes; returns the status, and the code and message if it is an error."""


def can_mount() -> bool:
    """Tell whether this system lets its users have disks of their own."""
    tools = shutil.which("unshare") and shutil.which("mount")
    return bool(tools) and subprocess.run([*MOUNT, "true"], check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="nobody may mount a disk here")


def over_rest(berth: Berth, size: int) -> tuple[int, str | None, str]:
    """Send a form."""
    form = {"file": ("big", bytes(size))}
    answer = httpx2.post(f"{berth.rest}/v1/files", files=form, data={"purpose": "batch"}, headers=dict(KEY), timeout=60)
    error = answer.json().get("error", {})
    return answer.status_code, error.get("code"), error.get("message", "")


def over_grpc(berth: Berth, size: int) -> tuple[int, str | None, str]:
    """Send a stream, a megabyte at a time."""

    def requests() -> Iterator[CreateFileRequest]:
        yield CreateFileRequest(provider=Provider.PROVIDER_OLLAMA, purpose="batch", filename="big")
        for start in range(0, size, MIB):
            yield CreateFileRequest(body=HttpBody(data=bytes(min(MIB, size - start))))

    with grpc.insecure_channel(berth.grpc) as channel:
        try:
            FileServiceStub(channel).CreateFile(requests(), metadata=KEY, timeout=60)
        except grpc.RpcError as error:
            failed: Any = error
            reply = ErrorReply.FromString(dict(failed.trailing_metadata())["grpc-status-details-bin"])
            return reply.status_code, reply.error.code.string_value, reply.error.message
    return 200, None, ""


uploads = pytest.mark.parametrize("upload", [over_rest, over_grpc])


def room(path: Path) -> int:
    """Return the bytes that are free on the disk that `path` is on."""
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


class Disk:
    """The small disk at `path`, as a running Berth sees it."""

    def __init__(self, berth: Berth, path: Path) -> None:
        self.path = Path(f"/proc/{berth.process.pid}/root{path}")

    def used(self) -> int:
        """Return the bytes of all files on it."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def fill(self) -> Path:
        """Take all the room that is left; return the file to remove for having it again."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file:
            while room(self.path):
                file.write(bytes(room(self.path)))
        return filler


@contextmanager
def on_a_small_disk(folder: Path, mounted: str, **settings: object) -> Iterator[tuple[Berth, Disk]]:
    """Run Berth with a small disk at a path in `folder`."""
    path = folder / mounted
    path.mkdir(parents=True)
    with running(folder, {**SETTINGS, **settings}, inside=(*SMALL_DISK, str(path))) as berth:
        assert Path(f"/proc/{berth.process.pid}/root{path}").stat().st_dev != path.stat().st_dev
        yield berth, Disk(berth, path)


def check_the_log(berth: Berth, *, made: int, failed: int) -> None:
    """Check that the trail has what was made and no more, and the log how each call ended, why, and no bug."""
    berth.lines(failed + made, event="call.finished", method="/berth.v1.FileService/CreateFile")
    told = [event["event"] for event in berth.events()]
    assert told.count("file.created") == sum(bool(event.get("audit")) for event in berth.events()) == made
    ends = [event["status"] for event in berth.events() if "CreateFile" in event.get("method", "")]
    assert (ends.count("UNAVAILABLE"), ends.count("OK")) == (failed, made)
    reasons = [event["reason"] for event in berth.events() if event["event"] == "storage.failed"]
    assert len(reasons) == failed
    assert all(reason.endswith("disk is full.") for reason in reasons)
    assert "call.failed" not in told


@uploads
def test_a_full_disk_of_bytes(tmp_path: Path, upload: Upload) -> None:
    """A file that does not fit is a 503 that says so, all it took is free at once, and a small one fits again."""
    with on_a_small_disk(tmp_path, "data/blobs") as (berth, disk):
        for _ in range(3):
            assert upload(berth, 2 * DISK) == (503, "storage_unavailable", "The blob store's disk is full.")
            assert disk.used() == 0
        assert upload(berth, 3 * MIB) == (200, None, "")
        assert upload(berth, 2 * MIB) == (503, "storage_unavailable", "The blob store's disk is full.")
        assert disk.used() == 3 * MIB
        assert list((disk.path / ".incoming").iterdir()) == []
        assert upload(berth, 10) == (200, None, "")
        check_the_log(berth, made=2, failed=4)


@uploads
def test_a_full_disk_of_rows(tmp_path: Path, upload: Upload) -> None:
    """Where bytes fit and their row does not it is a 503 that says so, the bytes go, and later both fit."""
    store = {"url": f"sqlite:///{tmp_path}/rows/berth.db"}
    with on_a_small_disk(tmp_path, "rows", store=store) as (berth, disk):
        blobs = tmp_path / "data" / "blobs"
        filler = disk.fill()
        refused = upload(berth, MIB)
        assert refused == (503, "storage_unavailable", "The store's disk is full.")
        assert [path for path in blobs.rglob("*") if path.is_file()] == []
        assert httpx2.get(f"{berth.rest}/v1/files", headers=dict(KEY), timeout=30).json()["data"] == []
        filler.unlink()
        assert upload(berth, MIB) == (200, None, "")
        assert [path.stat().st_size for path in blobs.rglob("*") if path.is_file()] == [MIB]
        check_the_log(berth, made=1, failed=1)


@pytest.mark.parametrize("mounted", ["rows", "data"])
def test_deletes_work_on_a_full_disk(tmp_path: Path, mounted: str) -> None:
    """With no byte left containers, one of them with twenty files, and files can be deleted, again and again."""
    store = {"url": f"sqlite:///{tmp_path}/{mounted}/berth.db"}
    with (
        on_a_small_disk(tmp_path, mounted, store=store) as (berth, disk),
        httpx2.Client(base_url=f"{berth.rest}/v1", headers=dict(KEY), timeout=60) as client,
    ):
        reserve = disk.path / "berth.db-reserve"
        asyncio.run(eventually(lambda: reserve.exists() and reserve.stat().st_size == MIB))
        containers = [client.post("/containers", json={"name": "box"}).json()["id"] for _ in range(10)]
        for number in range(20):
            answer = client.post(f"/containers/{containers[0]}/files?filename={number}", content=b"%d" % number)
            assert answer.status_code == 200
        files = [
            client.post("/files", files={"file": ("a", b"x")}, data={"purpose": "batch"}).json()["id"]
            for _ in range(10)
        ]
        paths = [f"/containers/{container}" for container in containers] + [f"/files/{file}" for file in files]
        for path in paths:
            disk.fill()
            assert client.post("/containers", json={"name": "box"}).status_code == 503
            answer = client.delete(path)
            assert (answer.status_code, answer.json().get("deleted")) == (200, True)
            assert client.get(path).status_code == 404
        assert client.get("/containers").json()["data"] == []
        assert reserve.stat().st_size > MIB / 2
        (disk.path / "filler").unlink()
        assert client.post("/containers", json={"name": "box"}).status_code == 200
        asyncio.run(eventually(lambda: reserve.stat().st_size == MIB, seconds=60))
