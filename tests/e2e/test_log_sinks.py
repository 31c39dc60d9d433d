"""What becomes of calls when nobody takes the log any more."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2

from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from support.clients.polling import health_of, wait_until
from support.servers.berth import STOP_SECONDS, UNCOUNTED, environment
from support.servers.empty_database import put_empty_database
from support.servers.starting import command

CALLS = 60
PIPE_BYTES = 4096
"""The smallest pipe: it holds the log of about ten calls."""
FULL_DISK = Path("/dev/full")
WITHOUT_METRICS = """
from prometheus_client import Counter, Gauge, Histogram
def fail(*_): raise ValueError
Counter.inc = Gauge.inc = Gauge.dec = Histogram.observe = fail
from berth.cli import main
main()
"""
"""A `berth` in which the library for metrics fails at every call."""


@contextmanager
def started(
    folder: Path,
    *options: str,
    stderr: int | IO[bytes] = subprocess.PIPE,
    program: Sequence[str] = (),
    **environ: str,
) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, Any]]]:
    """Start `berth up`, or a `program` of the same kind, with a pipe as its stderr that is not read, or another."""
    chosen = ("--data-dir", str(folder), "--rest-port", "0", "--grpc-port", "0", "--show-key", *options)
    env = environment() | environ
    if not (folder / "berth.db").exists():
        put_empty_database(folder / "berth.db")
    arguments = [*UNCOUNTED, *(program or command()), "up", *chosen]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=stderr, env=env) as process:
        assert process.stdout is not None
        if process.stderr is not None:
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def statuses(ready: dict[str, Any]) -> set[int]:
    """Create many containers and return the statuses of the answers."""
    headers = {"authorization": f"Bearer {ready['virtual_key']}"}
    with httpx2.Client(base_url=ready["rest"], headers=headers, timeout=30) as client:
        new = {"name": "x", "provider": "ollama"}
        return {client.post("/v1/containers", json=new).status_code for _ in range(CALLS)}


def test_calls_go_on_without_a_reader_of_the_log(tmp_path: Path) -> None:
    """A pipe that nobody reads neither stops a call nor the end of the process."""
    with started(tmp_path) as (process, ready):
        assert statuses(ready) == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


@contextmanager
def broken(name: str) -> Iterator[IO[bytes]]:
    """Open a sink that takes nothing: a full disk, or a pipe of which the reader is gone."""
    if name == "disk":
        with FULL_DISK.open("wb") as full:
            yield full
        return
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        yield pipe


@pytest.mark.parametrize(
    ("sink", "options", "program"),
    [("pipe", (), (sys.executable, "-c", WITHOUT_METRICS)), ("disk", ("--workers", "2"), ())],
    ids=["pipe and metrics", "disk of workers"],
)
def test_answers_do_not_depend_on_the_log(
    tmp_path: Path, sink: str, options: tuple[str, ...], program: tuple[str, ...]
) -> None:
    """With a broken log, and metrics that fail, each answer says what was done; health and metrics tell."""
    with broken(sink) as stderr:
        starting = started(tmp_path, *options, stderr=stderr, program=program, BERTH_LISTEN__METRICS="127.0.0.1:0")
        with starting as (process, ready), client_of(ready) as client:
            new = {"name": "x", "provider": "ollama"}
            made = [client.post("/v1/containers", json=new).raise_for_status().json()["id"] for _ in range(20)]
            assert client.delete(f"/v1/containers/{made[0]}").status_code == 200
            listed = client.get("/v1/containers", params={"limit": "100", "order": "asc", "provider": "ollama"}).json()[
                "data"
            ]
            assert [each["id"] for each in listed] == made[1:]
            assert client.get("/v1/containers", headers={"x-bf-vk": "sk-bf-wrong"}).status_code == 401
            with grpc.insecure_channel(ready["grpc"]) as channel:
                call = ContainerServiceStub(channel).ListContainers.future(
                    ListContainersRequest(), timeout=STOP_SECONDS
                )
                assert call.code() is grpc.StatusCode.UNAUTHENTICATED
            wait_until(lambda: health_of(ready["grpc"], "log") == health_pb2.HealthCheckResponse.NOT_SERVING)
            assert health_of(ready["grpc"]) == health_pb2.HealthCheckResponse.SERVING
            metrics = httpx2.get(ready["metrics"], timeout=30).text.splitlines()
            (dropped,) = [line for line in metrics if line.startswith("berth_log_lines_dropped_total ")]
            assert float(dropped.split()[1]) >= len(made)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0


def client_of(ready: dict[str, Any]) -> httpx2.Client:
    """Return a client with the first key."""
    return httpx2.Client(
        base_url=ready["rest"], headers={"authorization": f"Bearer {ready['virtual_key']}"}, timeout=30
    )


def test_nothing_is_changed_without_an_audit_trail(tmp_path: Path) -> None:
    """With `refuse`, nothing is created while the pipe of the log is full, even by a running upload; reads go on."""
    with started(tmp_path, BERTH_AUDIT__WHEN_UNAVAILABLE="refuse") as (process, ready):
        client = httpx2.Client(
            base_url=ready["rest"], headers={"authorization": f"Bearer {ready['virtual_key']}"}, timeout=30
        )
        new = {"name": "x", "provider": "ollama"}
        is_full = threading.Event()
        pool = ThreadPoolExecutor(1)
        upload = pool.submit(upload_until, is_full, client)
        answers = answers_until(503, lambda: client.post("/v1/containers", json=new))
        is_full.set()
        assert upload.result().json()["error"]["code"] == "audit_unavailable"
        assert client.get("/v1/files").json()["data"] == []
        refused = answers.pop()
        assert refused.json()["error"]["code"] == "audit_unavailable"
        assert int(refused.headers["retry-after"]) > 0
        assert {answer.status_code for answer in answers} == {200}
        found = client.get("/v1/containers", params={"limit": 1}).json()["data"]
        assert [each["id"] for each in found] == [answers[-1].json()["id"]]
        wait_until(lambda: health_of(ready["grpc"], "log") == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert health_of(ready["grpc"]) == health_pb2.HealthCheckResponse.SERVING
        assert process.stderr is not None
        reader = threading.Thread(target=process.stderr.read)
        reader.start()
        assert answers_until(200, lambda: client.post("/v1/containers", json=new))
        wait_until(lambda: health_of(ready["grpc"], "log") == health_pb2.HealthCheckResponse.SERVING)
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
        reader.join()


def upload_until(ended: threading.Event, client: httpx2.Client) -> httpx2.Response:
    """Upload a file that is not complete before `ended`; return the answer."""

    def content() -> Iterator[bytes]:
        yield b"begin"
        ended.wait(STOP_SECONDS)
        yield b"end"

    return client.post("/v1/files?filename=x&purpose=batch&provider=ollama", content=content())


def answers_until(status: int, call: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    """Repeat a call until its status is `status`; return all answers."""
    answers = [call()]
    deadline = time.monotonic() + STOP_SECONDS
    while answers[-1].status_code != status:
        assert time.monotonic() < deadline
        answers.append(call())
    return answers
