"""A Berth that keeps file content in a bucket of a real S3 server."""

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from berth.adapters.blobs.object_upload import PART_BYTES
from support.clients.polling import health_of, wait_until
from support.measuring.memory import (
    BOUND_MEBIBYTES,
    cost_of_a_large_file,
    memory_mebibytes,
    reset_peaks,
)
from support.measuring.processes import descendants_of
from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, START_SECONDS, Berth, environment, running, start
from support.servers.s3 import S3, S3_URL, Door, door_to
from support.servers.starting import command

HEADERS = {"authorization": f"Bearer {KEY_A}"}
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
    "listen": {"metrics": "127.0.0.1:0"},
}
MIB = 1024 * 1024
RECOVERY_SECONDS = times(15, 5)
"""On a machine that runs other tests as well, and on one that does not."""


@pytest.fixture(scope="module")
def bucket(s3_server: S3) -> S3:
    """Return a prefix for the tests of this module."""
    return s3_server.fresh()


@pytest.fixture(scope="module")
def berth(bucket: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    with running(tmp_path_factory.mktemp("berth"), SETTINGS | bucket.settings, inside=bucket.inside) as berth:
        yield berth


@pytest.fixture
def client(berth: Berth) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=60) as client:
        yield client


def test_a_file_lives_in_the_bucket(client: httpx2.Client, bucket: S3) -> None:
    """A file is one object; ranges of it come back; and deleting it deletes the object."""
    content, before = os.urandom(12 * MIB + 5), bucket.objects()
    file = client.post("/v1/files?filename=x&purpose=batch", content=content).json()["id"]
    assert len(bucket.objects()) == len(before) + 1
    path = f"/v1/files/{file}/content"
    assert client.get(path).content == content
    for first, last in ((0, 0), (5 * MIB - 1, 5 * MIB), (12 * MIB, 12 * MIB + 4)):
        answer = client.get(path, headers={"range": f"bytes={first}-{last}"})
        assert (answer.status_code, answer.content) == (206, content[first : last + 1])
    assert client.delete(f"/v1/files/{file}").status_code == 200
    assert (bucket.objects(), bucket.uploads()) == (before, [])


@pytest.mark.parametrize("sent", [1, 3 * MIB, 17 * MIB])
def test_a_client_that_leaves_leaves_nothing(berth: Berth, bucket: S3, sent: int) -> None:
    """A client that goes away in the middle of an upload leaves neither an object nor a part of one."""
    where, before = urlsplit(berth.rest), bucket.objects()
    with socket.create_connection((where.hostname or "", where.port or 0)) as leaving:
        leaving.sendall(
            b"POST /v1/files?filename=x&purpose=batch HTTP/1.1\r\nHost: x\r\nContent-Length: 99000000\r\n"
            b"Authorization: Bearer %s\r\n\r\n" % KEY_A.encode()
        )
        leaving.sendall(bytes(sent))
        if sent > 6 * MIB:
            wait_until(lambda: bool(bucket.uploads()))
    wait_until(lambda: not berth_calls(berth))
    assert (bucket.objects(), bucket.uploads()) == (before, [])


def berth_calls(berth: Berth) -> int:
    """Return how many calls run."""
    lines = httpx2.get(f"{berth.metrics}/metrics", timeout=30).text.splitlines()
    return int(float(next(line for line in lines if line.startswith("berth_calls_in_flight ")).split()[1]))


def test_a_large_file_takes_little_memory(berth: Berth, bucket: S3, client: httpx2.Client) -> None:
    """A file of many parts goes up and comes down with at most 48 MiB more in service and Envoy together."""
    pids = descendants_of(berth.process.pid)
    client.post("/v1/files?filename=warm&purpose=batch", content=b"warm").raise_for_status()
    at_rest = memory_mebibytes(pids, "VmRSS")
    reset_peaks(pids)
    pieces = (bytes(MIB) for _ in range(64))
    file = client.post("/v1/files?filename=x&purpose=batch", content=pieces).json()["id"]
    with client.stream("GET", f"/v1/files/{file}/content") as answer:
        assert sum(map(len, answer.iter_bytes())) == 64 * MIB
    assert memory_mebibytes(pids, "VmHWM") - at_rest <= BOUND_MEBIBYTES
    assert bucket.uploads() == []


@soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(S3_URL is None, reason="moto is too slow for 512 MiB; set BERTH_TEST_S3_URL")
def test_512_mebibytes(berth: Berth, client: httpx2.Client, capsys: pytest.CaptureFixture[str]) -> None:
    """512 MiB go up to the bucket and come down with at most 48 MiB more memory in service and Envoy together."""
    cost = cost_of_a_large_file(descendants_of(berth.process.pid), client)
    with capsys.disabled():
        print(f"\nmemory with a bucket, service and Envoy: {cost}")  # noqa: T201 - figures for people
    assert max(cost.upload, cost.download) <= BOUND_MEBIBYTES


def test_doctor_backup_and_restore(berth: Berth, client: httpx2.Client, bucket: S3, tmp_path: Path) -> None:
    """The commands work on the bucket: a backup is a folder, and is restored into another prefix."""
    file = client.post("/v1/files?filename=x&purpose=batch", content=b"kept" * 1000).json()["id"]
    config, backup = berth.log.with_name("berth.yaml"), str(tmp_path / "backup")
    data = ("--config", str(config), "--data-dir", str(config.with_name("data")))
    assert run(bucket, "doctor", "--deep", *data)[0] == 0
    assert run(bucket, "backup", backup, *data)[0] == 0
    target = bucket.fresh()
    elsewhere = (f"BERTH_BLOBS__URL={target.url}",)
    data = ("--config", str(config), "--data-dir", str(tmp_path / "data"))
    assert run(bucket, "restore", backup, *data, variables=elsewhere)[0] == 0
    assert sorted(target.objects()) == sorted(bucket.objects())
    target.client.delete_object(Bucket=target.bucket, Key=f"{target.prefix}/{target.objects()[0]}")
    code, error = run(bucket, "doctor", "--deep", *data, variables=elsewhere)
    assert (code, "1 finding" in error) == (1, True)  # and the rest is all right
    client.delete(f"/v1/files/{file}").raise_for_status()


def run(bucket: S3, *arguments: str, variables: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a command with the bucket's credentials; return its exit code and what it printed for people."""
    done = subprocess.run(
        [*bucket.inside, *variables, *command(*arguments)],
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        env=environment(),
    )
    return done.returncode, done.stderr


async def test_a_server_that_stops_and_comes_back(s3: S3, tmp_path: Path) -> None:
    """While the S3 server is away, calls that need it say when to try again; within 5 s of its return all work."""
    async with door_to(s3) as door, at_a_door(door, s3, tmp_path) as (berth, client):
        path, gone = await uploaded(client), await uploaded(client, b"gone")
        await door.shut()
        for size in (3, PART_BYTES + 65_536):  # in one request, and in parts
            refused = await client.post("/v1/files?filename=x&purpose=batch", content=bytes(size))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert s3.prefix not in refused.text
        refused = await client.get(path)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        deleted = await client.delete(gone.removesuffix("/content"))  # the row; a sweep does the rest
        assert deleted.status_code == 200
        await asyncio.to_thread(wait_until, lambda: health_of(berth.grpc) == HealthCheckResponse.NOT_SERVING)
        await door.open()
        back = time.monotonic()
        await asyncio.to_thread(wait_until, lambda: health_of(berth.grpc) == HealthCheckResponse.SERVING)
        assert (await client.get(path)).content == b"kept"
        await uploaded(client)
        assert time.monotonic() - back <= RECOVERY_SECONDS
        assert (await client.get(gone)).status_code == 404
        assert len(s3.objects()) == 2


async def test_a_bucket_that_refuses_writes(s3: S3, tmp_path: Path) -> None:
    """Uploads get 503 with a time, whatever their size, and the log has the bucket's code; downloads go on."""
    async with door_to(s3) as door, at_a_door(door, s3, tmp_path) as (berth, client):
        path = await uploaded(client)
        door.refuses_writes = True
        for size in (3, PART_BYTES + 65_536):
            refused = await client.post("/v1/files?filename=x&purpose=batch", content=bytes(size))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert "AccessDenied" not in refused.text
        assert "AccessDenied" in str(berth.lines(event="storage.failed")[0])
        assert (await client.get(path)).content == b"kept"
        door.refuses_writes = False
        await uploaded(client)


@soak
@pytest.mark.timeout(300)
@pytest.mark.skipif(times(0, 1) == 0, reason="calls wait for 20 seconds and more")
async def test_a_bucket_that_hangs(s3: S3, tmp_path: Path) -> None:
    """Calls that need it get 503 after 20 s without a byte; the health says so before; all work afterwards."""
    async with door_to(s3) as door, at_a_door(door, s3, tmp_path) as (berth, client):
        path = await uploaded(client)
        with door.hanging():
            begun = time.monotonic()
            calls = (client.post("/v1/files?filename=x&purpose=batch", content=b"x"), client.get(path))
            for refused in await asyncio.gather(*calls):
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            print(f"\na bucket that hangs: refused after {time.monotonic() - begun:.1f} s")  # noqa: T201 - figures of make soak
            assert time.monotonic() - begun <= 35
            assert health_of(berth.grpc) == HealthCheckResponse.NOT_SERVING
        await asyncio.to_thread(wait_until, lambda: health_of(berth.grpc) == HealthCheckResponse.SERVING)
        assert (await client.get(path)).content == b"kept"
        await uploaded(client)


@asynccontextmanager
async def at_a_door(door: Door, s3: S3, folder: Path) -> AsyncIterator[tuple[Berth, httpx2.AsyncClient]]:
    """Run a Berth that reaches the server through a door, and a client of it."""
    berth = await asyncio.to_thread(start, folder, SETTINGS | s3.at(door.endpoint).settings, inside=s3.inside)
    try:
        async with httpx2.AsyncClient(base_url=berth.rest, headers=HEADERS, timeout=60) as client:
            yield berth, client
    finally:
        await asyncio.to_thread(berth.stop)
        assert berth.process.stdout is not None
        berth.process.stdout.close()


async def uploaded(client: httpx2.AsyncClient, content: bytes = b"kept") -> str:
    """Upload a file; return the path of its content."""
    answer = await client.post("/v1/files?filename=x&purpose=batch", content=content)
    return f"/v1/files/{answer.raise_for_status().json()['id']}/content"
