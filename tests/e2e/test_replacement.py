"""`berth up --replace`: a second Berth takes over the data folder and the ports of the first."""

import contextlib
import json
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import httpx2
import pytest

from berth.launch.private_folder import PREFIX
from support.clients.polling import wait_until
from support.servers.process import BerthProcess, free_ports, refused_berth, running_berth

CONTAINER = {"provider": "ollama", "name": "a"}
REFUSED = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def berth(folder: Path) -> Iterator[BerthProcess]:
    with running_berth("up", folder, environ={"BERTH_LISTEN__METRICS": "127.0.0.1:0"}) as process:
        yield process


def start_upload(berth: BerthProcess, container: str) -> HTTPConnection:
    """Begin an upload of 10 bytes, and send the first 5."""
    connection = berth.connect()
    connection.putrequest("POST", f"/v1/containers/{container}/files?filename=a.txt")
    for name, value in {**berth.authorization(), "Content-Type": "text/plain", "Content-Length": "10"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"first")
    return connection


def test_a_successor_takes_over(berth: BerthProcess, folder: Path) -> None:
    """It has the same ports and data; the first one finishes its upload, exits with 0, and leaves nothing behind."""
    container = berth.call("POST", "/v1/containers", CONTAINER)[1]["id"]
    upload = start_upload(berth, container)
    environ = {"BERTH_LISTEN__METRICS": "127.0.0.1:0"}
    with running_berth("up", folder, "--replace", environ=environ) as successor:
        assert successor.ready == berth.ready
        assert berth.process.poll() is None
        assert successor.call("GET", f"/v1/containers/{container}")[0] == 200
        assert httpx2.get(successor.ready["metrics"], timeout=30).status_code == 200
        upload.send(b"again")
        response = upload.getresponse()
        file = json.loads(response.read())
        assert (response.status, file["bytes"]) == (200, 10)
        upload.close()
        assert berth.end() == 0
        assert successor.call("GET", f"/v1/containers/{container}/files/{file['id']}")[0] == 200
        assert len(list(folder.glob(f"{PREFIX}*"))) == 1
        status, _, errors = refused_berth("up", "--data-dir", str(folder), *free_ports("up"))
        assert status == REFUSED
        assert f"in use by another Berth (process {successor.process.pid})" in errors
        assert successor.end(signal.SIGTERM) == 0
    assert list(folder.glob(f"{PREFIX}*")) == []


def test_without_a_predecessor_it_starts_as_usual(folder: Path) -> None:
    """`--replace` in a script works for the first start, too."""
    with running_berth("up", folder, "--replace") as berth:
        assert berth.call("POST", "/v1/containers", CONTAINER)[0] == 200


def test_a_successor_that_cannot_start_changes_nothing(berth: BerthProcess, folder: Path) -> None:
    """If its settings are refused, the running Berth goes on, and the next successor takes over."""
    environ = {"BERTH_BLOBS__URL": "file:///dev/null/blobs"}
    status, _, errors = refused_berth("up", "--replace", "--data-dir", str(folder), *free_ports("up"), environ=environ)
    assert (status, "blobs.url" in errors) == (REFUSED, True)
    wait_until(lambda: "the successor has disappeared" in berth.errors)
    assert berth.call("GET", "/v1/containers")[0] == 200
    with running_berth("up", folder, "--replace") as successor:
        assert berth.end() == 0
        assert successor.call("GET", "/v1/containers")[0] == 200


def test_a_berth_without_rest_is_not_replaced(folder: Path) -> None:
    """`berth serve` does not wait for successors: the message says what to do."""
    with running_berth("serve", folder) as serving:
        status, _, errors = refused_berth("up", "--replace", "--data-dir", str(folder), *free_ports("up"))
        assert status == REFUSED
        assert f"(process {serving.process.pid}); it cannot be replaced, stop it first" in errors


def test_a_port_is_shared_with_a_successor_only(berth: BerthProcess, tmp_path: Path) -> None:
    """A Berth with another data folder is refused the ports, with --replace and without."""
    for kind, setting in (("rest", "listen.rest"), ("grpc", "listen.grpc")):
        port = berth.ready[kind].rpartition(":")[2]
        for options in ([], ["--replace"]):
            arguments = ("--data-dir", str(tmp_path / "other"), *free_ports("up"), f"--{kind}-port", port, *options)
            status, _, errors = refused_berth("up", *arguments)
            assert (status, f"{setting}: cannot listen on" in errors) == (REFUSED, True)


def test_a_client_that_keeps_its_connection_is_told_to_close_it(berth: BerthProcess, folder: Path) -> None:
    """A request on an old connection is answered by the predecessor, and the connection ends with the answer."""
    with contextlib.closing(berth.connect()) as kept:
        kept.request("GET", "/v1/containers", headers=berth.authorization())
        kept.getresponse().read()
        with running_berth("up", folder, "--replace"):
            kept.request("GET", "/v1/containers", headers=berth.authorization())
            response = kept.getresponse()
            assert (response.status, response.getheader("connection")) == (200, "close")
            response.read()
            assert berth.end() == 0
