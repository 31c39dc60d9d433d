"""`berth up --workers`: several processes serve on the same ports."""

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from berth.cli import commands
from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from support.clients.polling import answers, wait_until
from support.measuring.processes import is_alive
from support.providers.plain import Plain, plain_provider
from support.servers.background import in_background
from support.servers.chain import passing_to
from support.servers.process import BerthProcess, free_ports, refused_berth, running_berth

WORKERS = 2
REFUSED = 2
CALLS, CONNECTIONS = 400, 4
NOTICE_SECONDS = 2.0
"""How long a busy Envoy may send calls to a worker that has just ended."""
KEY, NEW_KEY = "sk-bf-of-the-first", "sk-bf-of-the-second"
CONTAINER = {"provider": "ollama", "name": "a"}
CALL = {"event": "call.finished"}
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def write_settings(path: Path, provider: Plain, *keys: str) -> None:
    """Write a configuration with a virtual key for each of `keys`, and with a provider that has its answers cached."""
    virtual_keys = [{"name": f"key-{n}", "value": key, "tenant": "a"} for n, key in enumerate(keys)]
    cached = passing_to(provider.url, cache_seconds=60)
    settings = {
        "auth": {"virtual_keys": virtual_keys},
        "listen": {"metrics": "127.0.0.1:0"},
        "providers": {"openai": cached},
    }
    path.write_text(yaml.safe_dump(settings))


@pytest.fixture(scope="module")
def provider() -> Iterator[Plain]:
    with in_background(plain_provider()) as provider:
        yield provider


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, provider: Plain) -> Path:
    path = tmp_path_factory.mktemp("workers") / "berth.yaml"
    write_settings(path, provider, KEY)
    return path


@pytest.fixture(scope="module")
def berth(config: Path) -> Iterator[BerthProcess]:
    options = ("--config", str(config), "--workers", str(WORKERS))
    with running_berth("up", config.parent / "data", *options) as process:
        yield process
        assert process.end(signal.SIGTERM) == 0


def events(berth: BerthProcess, **fields: object) -> list[dict[str, Any]]:
    """Return the events in the log so far that have `fields`."""
    lines = [json.loads(line) for line in berth.errors.splitlines() if line.startswith("{")]
    return [line for line in lines if fields.items() <= line.items()]


def workers_of(berth: BerthProcess) -> dict[int, int]:
    """Return the process of each worker, by its number."""
    return {event["worker"]: event["process"] for event in events(berth, event="worker.started")}


def counted(berth: BerthProcess) -> int:
    """Return how many calls the metrics have counted."""
    lines = httpx2.get(berth.ready["metrics"], timeout=30).text.splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith("berth_call_seconds_count"))


def status_of(berth: BerthProcess, key: str = KEY) -> int:
    return berth.call("GET", "/v1/containers", Authorization=f"Bearer {key}")[0]


def list_over_grpc(address: str, key: str = KEY) -> None:
    """List containers on a connection to the gRPC port of its own."""
    with grpc.insecure_channel(address, options=OWN_CONNECTION) as channel:
        metadata = (("authorization", f"Bearer {key}"),)
        ContainerServiceStub(channel).ListContainers(ListContainersRequest(), metadata=metadata, timeout=30)


def test_calls_are_spread_and_counted_together(berth: BerthProcess) -> None:
    """Over REST each worker gets the same share of the calls, to 10 %, and the metrics count those of both."""
    finished = {"event": "call.finished", "status": "OK"}
    before, share = counted(berth), CALLS // CONNECTIONS
    logged = len(events(berth, **finished))

    def call() -> None:
        with contextlib.closing(berth.connect()) as connection:
            for _ in range(share):
                connection.request("GET", "/v1/containers", headers={"Authorization": f"Bearer {KEY}"})
                assert connection.getresponse().read()

    threads = [threading.Thread(target=call) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(events(berth, **finished)) >= logged + CALLS)
    calls = Counter(event["worker"] for event in events(berth, **finished)[logged:])
    assert len(calls) == WORKERS
    assert max(calls.values()) - min(calls.values()) <= CALLS // WORKERS // 10
    assert counted(berth) - before == CALLS
    assert len(events(berth, event="limits.per_worker")) == 1


def test_each_worker_listens_on_the_grpc_port(berth: BerthProcess) -> None:
    """Of the connections to the port of gRPC each worker gets some."""
    before = len(events(berth, event="call.finished"))

    def reached() -> set[int]:
        list_over_grpc(berth.ready["grpc"])
        return {event["worker"] for event in events(berth, event="call.finished")[before:]}

    wait_until(lambda: len(reached()) == WORKERS)


def test_a_killed_worker_is_replaced(berth: BerthProcess) -> None:
    """Only calls that were in flight in it may fail, and the metrics lose none that they have shown."""
    killed, failures = workers_of(berth)[0], []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            began = time.monotonic()
            if status_of(berth) != 200:
                failures.append(began)

    threads = [threading.Thread(target=call) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        shown = counted(berth)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: not is_alive(killed))
        gone = time.monotonic()
        wait_until(lambda: workers_of(berth)[0] != killed)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [began - gone for began in failures if began - gone > NOTICE_SECONDS] == []
    assert len(failures) <= 2 * CONNECTIONS
    assert events(berth, event="worker.ended")[-1]["reason"] == "ended by itself with status -9"
    assert counted(berth) >= shown


def test_no_worker_caches_what_another_may_change(berth: BerthProcess, provider: Plain) -> None:
    """The provider is asked for each retrieval, although its answers are to be cached, and one warning says so."""
    authorization = {"Authorization": f"Bearer {KEY}"}
    container = berth.call("POST", "/v1/containers", {"provider": "openai", "name": "a"}, **authorization)[1]["id"]
    for _ in range(2 * WORKERS):
        assert berth.call("GET", f"/v1/containers/{container}", **authorization)[0] == 200
    assert [asked.method for asked in provider.asked].count("GET") == 2 * WORKERS
    assert [event["providers"] for event in events(berth, event="cache.off")] == [["openai"]]


def test_a_reload_reaches_all_workers(berth: BerthProcess, config: Path, provider: Plain) -> None:
    """Each worker accepts the keys of the new configuration, also one that starts later; a refused one changes none."""
    write_settings(config, provider, NEW_KEY)
    berth.process.send_signal(signal.SIGHUP)
    wait_until(lambda: bool(events(berth, event="auth.reloaded")))
    assert [status_of(berth, KEY) for _ in range(2 * WORKERS)] == [401] * 2 * WORKERS
    assert [status_of(berth, NEW_KEY) for _ in range(2 * WORKERS)] == [200] * 2 * WORKERS
    config.write_text("auth: {}\n")
    berth.process.send_signal(signal.SIGHUP)
    wait_until(lambda: bool(events(berth, event="auth.reload_failed")))
    killed = workers_of(berth)[1]
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: workers_of(berth)[1] != killed)
    assert [status_of(berth, NEW_KEY) for _ in range(2 * WORKERS)] == [200] * 2 * WORKERS
    write_settings(config, provider, KEY)
    berth.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [status_of(berth, KEY) for _ in range(2 * WORKERS)] == [200] * 2 * WORKERS)


def kill_and_await_successor(berth: BerthProcess, worker: int) -> None:
    """Kill a worker; return when the next one knows its configuration, and serves nothing yet."""
    processes = set(berth.children())
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: any(map(has_database, set(berth.children()) - processes)))


def has_database(process: int) -> bool:
    """Return whether a process has opened the database."""
    with contextlib.suppress(OSError):  # the file may be closed meanwhile
        return any(link.readlink().name == "berth.db" for link in Path(f"/proc/{process}/fd").iterdir())
    return False


def test_a_restarted_worker_begins_with_the_callers_of_a_reload(
    berth: BerthProcess, config: Path, provider: Plain
) -> None:
    """Its first calls are judged by them, however late the supervisor has time for it."""
    write_settings(config, provider, NEW_KEY)
    berth.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [status_of(berth, NEW_KEY) for _ in range(2 * WORKERS)] == [200] * 2 * WORKERS)
    killed, before = workers_of(berth)[0], len(events(berth, **CALL, worker=0))
    kill_and_await_successor(berth, killed)
    os.kill(berth.process.pid, signal.SIGSTOP)
    try:
        while not events(berth, **CALL, worker=0)[before:]:
            list_over_grpc(berth.ready["grpc"], NEW_KEY)
    finally:
        os.kill(berth.process.pid, signal.SIGCONT)
    wait_until(lambda: workers_of(berth)[0] != killed)
    write_settings(config, provider, KEY)
    berth.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [status_of(berth, KEY) for _ in range(2 * WORKERS)] == [200] * 2 * WORKERS)


class Load:
    """Callers over REST and over gRPC, each call on a new connection, and the errors that they see."""

    def __init__(self, berth: BerthProcess) -> None:
        self.calls = 0
        self.errors: list[object] = []
        self._berth = berth
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(call,)) for call in (self._rest, self._grpc)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish its call."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call: Any) -> None:
        while not self._stop.is_set():
            try:
                call()
            except Exception as error:  # noqa: BLE001 - each error of a caller counts
                self.errors.append(error)
            self.calls += 1

    def _rest(self) -> None:
        assert self._berth.call("GET", "/v1/containers")[0] == 200

    def _grpc(self) -> None:
        list_over_grpc(self._berth.ready["grpc"], self._berth.ready["virtual_key"])


def begun_uploads(berth: BerthProcess, count: int) -> list[HTTPConnection]:
    """Begin uploads of 10 bytes, and send the first 5 of each once Envoy has its head."""
    container = berth.call("POST", "/v1/containers", CONTAINER)[1]["id"]
    uploads = [berth.connect() for _ in range(count)]
    for number, upload in enumerate(uploads):
        upload.putrequest("POST", f"/v1/containers/{container}/files?filename={number}")
        headers = {"Content-Type": "text/plain", "Content-Length": "10", "Expect": "100-continue"}
        for name, value in {**berth.authorization(), **headers}.items():
            upload.putheader(name, value)
        upload.endheaders()
        assert upload.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        upload.send(b"first")
    return uploads


def ended_uploads(uploads: list[HTTPConnection]) -> list[int]:
    """Send the rest; return the status of each."""
    for upload in uploads:
        upload.send(b"again")
    statuses = [upload.getresponse().status for upload in uploads]
    for upload in uploads:
        upload.close()
    return statuses


def test_a_successor_with_more_workers_takes_over(tmp_path: Path) -> None:
    """No call fails meanwhile; and if the successor is killed, the kernel kills its workers and its Envoy."""
    folder = tmp_path / "data"
    with running_berth("up", folder, "--workers", "2") as first:
        load = Load(first)
        uploads = begun_uploads(first, 4)
        with running_berth("up", folder, "--replace", "--workers", "3") as successor:
            assert successor.ready == first.ready
            assert ended_uploads(uploads) == [200] * 4
            assert set(workers_of(successor)) == {0, 1, 2}
            assert first.end() == 0
            load.stop()
            assert (load.errors, load.calls > 0) == ([], True)
            processes = successor.children()
            assert set(workers_of(successor).values()) < set(processes)
            successor.end(signal.SIGKILL)
            wait_until(lambda: not any(map(is_alive, processes)))


def test_workers_drain_together(tmp_path: Path) -> None:
    """After SIGTERM all uploads finish, whichever worker has them, before any worker ends; nothing is left."""
    with running_berth("up", tmp_path / "data", "--workers", str(WORKERS)) as berth:
        uploads, processes = begun_uploads(berth, 3 * WORKERS), berth.children()
        berth.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not answers(berth.ready["rest"].removeprefix("http://")))
        assert all(map(is_alive, processes))
        assert ended_uploads(uploads) == [200] * 3 * WORKERS
        assert berth.end() == 0
    assert not any(map(is_alive, processes))


def test_a_worker_that_cannot_start_ends_all(tmp_path: Path) -> None:
    """The message is that of one process, once, and so is the exit code."""
    environ = {"BERTH_BLOBS__URL": "file:///dev/null/blobs"}
    arguments = ("--data-dir", str(tmp_path / "data"), *free_ports("serve"), "--workers", "2")
    status, stdout, errors = refused_berth("serve", *arguments, environ=environ)
    assert (status, stdout, errors.count("berth: blobs.url: ")) == (REFUSED, "", 1)


@pytest.mark.parametrize(("number", "bound"), [("0", "1"), ("-1", "1"), ("1000", "64")])
def test_a_number_out_of_range_is_refused(number: str, bound: str) -> None:
    """The message says what is allowed."""
    result = CliRunner().invoke(commands, ["up", "--workers", number])
    assert result.exit_code == REFUSED
    assert re.search(rf"'--workers': .* than or equal to {bound} ", result.output)
