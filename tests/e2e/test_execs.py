"""Commands in hosted containers over REST, gRPC and the command line, on a whole Berth with the fake sandbox."""

import json
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc
import httpx2
import pytest

from berth.commands.execs import INTERRUPTED
from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, FollowContainerExecRequest
from berth.v1.container_exec_service_pb2_grpc import (
    ContainerExecServiceServicer,
    ContainerExecServiceStub,
    add_ContainerExecServiceServicer_to_server,
)
from berth.v1.exec_pb2 import Exec, ExecEvent
from support.clients.polling import wait_until
from support.servers.berth import KEY_A, KEY_B, SETTINGS, Berth, environment, running
from support.servers.exec_program import PROGRAM
from support.servers.starting import command

EXECS = {**SETTINGS, "exec": {"accept_shared_kernel": True}}
KEY = (("authorization", f"Bearer {KEY_A}"),)


@pytest.fixture(scope="module")
def execs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth with the fake sandbox for all tests of this module."""
    with running(tmp_path_factory.mktemp("execs"), EXECS, program=PROGRAM) as berth:
        yield berth


@pytest.fixture
def client(execs: Berth) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=execs.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=60) as client:
        yield client


def new_container(client: httpx2.Client, provider: str = "ollama") -> str:
    container: str = client.post("/v1/containers", json={"provider": provider, "name": "box"}).json()["id"]
    return container


@pytest.fixture
def path(client: httpx2.Client) -> str:
    """Return the path of the execs of a new container."""
    return f"/v1/containers/{new_container(client)}/execs"


def lines(response: httpx2.Response) -> list[Any]:
    """Return the events of a response, sent in either way."""
    return [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line]


def test_a_file_is_made_and_downloaded(client: httpx2.Client) -> None:
    """Code reads an uploaded file and makes another one, which can be downloaded."""
    box = f"/v1/containers/{new_container(client)}"
    client.post(f"{box}/files", files={"file": ("a.csv", b"1\n2\n")}, data={"file_path": "a.csv"})
    source = "total = sum(map(int, open('a.csv'))); print(total); open('sum.txt', 'w').write(str(total))"
    answer = client.post(f"{box}/execs", json={"code": {"language": "python", "source": source}})
    result = answer.json()
    assert (answer.status_code, result["stdout"], result["stderr"]) == (200, "3\n", "")
    assert result["outcome"] == {"type": "exit", "exit_code": 0}
    assert (result["status"], result["truncated"], result["isolation"]) == ("completed", False, "none")
    assert result["extra_fields"]["request_type"] == "container_exec_create"
    (file,) = result["files"]
    assert (file["path"], file["source"]) == ("/mnt/data/sum.txt", "assistant")
    assert client.get(f"{box}/files/{file['id']}/content").content == b"3"
    listed = client.get(f"{box}/execs").json()
    assert [one["id"] for one in listed["data"]] == [result["id"]]
    assert "stdout" not in listed["data"][0]
    assert {"session", "session_restarted"}.isdisjoint(result.keys() | listed["data"][0].keys())
    assert client.get(f"{box}/execs/{result['id']}").json()["stdout"] == "3\n"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        ("application/x-ndjson", None),
        ("text/event-stream;q=0.1, Application/JSONL; charset=utf-8; q=0.05, */*", "application/x-ndjson"),
        ("application/x-ndjson;q=0", "text/event-stream"),
        ("*/*, application/jsonl; q = 0.000", "text/event-stream"),
    ],
)
def test_events_come_as_they_happen(client: httpx2.Client, path: str, accept: str, kind: str | None) -> None:
    """Events are sent as server-sent events or as lines, each with its number; they can be continued."""
    with client.stream(
        "POST",
        f"{path}/stream",
        json={"command": "echo a; while [ ! -e go ]; do sleep 0.01; done; exit 3"},
        headers={"accept": accept},
    ) as response:
        assert response.headers["content-type"] == (kind or accept)
        text, exec_id = "", ""
        for chunk in response.iter_text():
            text += chunk
            if '"stdout":"a' in text and not exec_id:
                exec_id = client.get(path).json()["data"][0]["id"]
                client.post(f"{path}/{exec_id}/cancel")
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    assert [(event["sequence"], event["type"]) for event in events] == [(1, "started"), (2, "output"), (3, "ended")]
    assert ("stderr" in events[1], events[2]["exec"]["outcome"]) == (False, {"type": "cancelled"})
    again = client.get(f"{path}/{exec_id}/stream?after=1", headers={"accept": accept})
    assert lines(again) == events[1:]
    head = client.head(f"{path}/{exec_id}/stream", headers={"accept": accept})
    assert (head.status_code, head.content) == (200, b"")


def test_errors_before_a_stream_are_errors(client: httpx2.Client, path: str) -> None:
    """A request for events that is refused gets the status and the envelope of any other."""
    for accept in ("text/event-stream", "application/x-ndjson"):
        answer = client.post(f"{path}/stream", json={"argv": []}, headers={"accept": accept})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_required_parameter")
        answer = client.get(f"{path}/exec_none/stream", headers={"accept": accept})
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "command"),
        ({"command": "x" * 1_000_000}, "command"),
        ({"command": "a\u0000"}, "command"),
        ({"command": "a", "argv": ["a"]}, "argv"),
        ({"code": {"language": "cobol", "source": "a"}}, "code.language"),
        ({"command": "a", "cwd": "/etc"}, "cwd"),
        ({"command": "a", "env": {"A=B": "c"}}, "env"),
        ({"command": "a", "timeout_ms": 0}, "timeout_ms"),
        ({"command": "a", "timeout_ms": -1}, "timeout_ms"),
        ({"command": "a", "timeout_ms": 3_600_001}, "timeout_ms"),
        ({"command": "a", "surprise": 1}, "surprise"),
        ({"command": 1}, "command"),
    ],
)
def test_bad_input_is_refused(client: httpx2.Client, path: str, body: Any, param: str) -> None:
    """Each bad body is a 400 that names the parameter, for both ways to run a command."""
    for place in (path, f"{path}/stream"):
        answer = client.post(place, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_bytes_that_are_no_text_are_refused(client: httpx2.Client, path: str) -> None:
    """A body that is not UTF-8 is a 400."""
    answer = client.post(path, content=b'{"command": "\xff"}', headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_a_busy_container_says_so(client: httpx2.Client, path: str) -> None:
    """A second command is a 409, the first one can be ended, and its exec is there in the meantime."""
    started = client.post(path, json={"command": "sleep 60", "background": True}).json()
    assert (started["status"], "outcome" in started) == ("running", False)
    busy = client.post(path, json={"command": "echo"})
    assert (busy.status_code, busy.json()["error"]["code"], busy.headers["retry-after"]) == (409, "container_busy", "1")
    assert client.get(f"{path}/{started['id']}").json()["status"] == "running"
    client.post(f"{path}/{started['id']}/cancel", json={})
    wait_until(lambda: client.get(f"{path}/{started['id']}").json().get("outcome") == {"type": "cancelled"})


def test_a_key_runs_a_command_once(client: httpx2.Client, path: str) -> None:
    """Requests with the same idempotency key, in either form, get the result of the one command that was run."""
    body, headers = {"command": "echo run >> log; wc -l < log"}, {"idempotency-key": f"key of {path}"}
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: client.post(path, json=body, headers=headers), range(3)))
    results = [answer.json() for answer in answers if answer.status_code == 200]
    again = client.post(path, json=body, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert {one["id"] for one in (*results, again.json())} == {again.json()["id"]}
    assert again.json()["stdout"].strip() == "1"
    events = lines(client.post(f"{path}/stream", json=body, headers=headers))
    assert events[-1]["exec"]["id"] == again.json()["id"]
    other = client.post(path, json={"command": "echo"}, headers=headers)
    assert other.json()["error"]["code"] == "idempotency_key_reused"


def test_another_tenant_sees_nothing(client: httpx2.Client, path: str) -> None:
    """Every operation on another tenant's exec is a 404."""
    exec_id = client.post(path, json={"command": "echo"}).json()["id"]
    theirs = {"authorization": f"Bearer {KEY_B}"}
    for method, place in (
        ("POST", path),
        ("POST", f"{path}/stream"),
        ("GET", path),
        ("GET", f"{path}/{exec_id}"),
        ("GET", f"{path}/{exec_id}/stream"),
        ("POST", f"{path}/{exec_id}/cancel"),
    ):
        is_start = method == "POST" and place in (path, f"{path}/stream")
        body = {"command": "echo"} if is_start else None
        assert client.request(method, place, headers=theirs, json=body).status_code == 404


def test_aliases_and_methods(client: httpx2.Client) -> None:
    """The paths of OpenAI's SDKs lead to the same operations; a wrong method is a 405."""
    container = new_container(client, "openai")
    answer = client.post(f"/openai/v1/containers/{container}/execs", json={"command": "echo a"})
    assert answer.json()["stdout"] == "a\n"
    events = lines(client.post(f"/openai/containers/{container}/execs/stream", json={"command": "echo a"}))
    assert events[-1]["type"] == "ended"
    elsewhere = f"/openai/v1/containers/{new_container(client, 'groq')}/execs"
    assert client.post(elsewhere, json={"command": "echo b"}).json()["stdout"] == "b\n"
    assert client.post(f"{elsewhere}?provider=openai", json={"command": "echo c"}).status_code == 404
    wrong = client.delete(f"/v1/containers/{container}/execs/{answer.json()['id']}")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")


def test_grpc_callers_get_the_same(execs: Berth, client: httpx2.Client) -> None:
    """Over gRPC a command has its result, and its events are a stream that can be followed."""
    container = new_container(client)
    with grpc.insecure_channel(execs.grpc) as channel:
        stub = ContainerExecServiceStub(channel)
        ask = CreateContainerExecRequest(container_id=container, argv=["sh", "-c", "echo a; exit 2"])
        result = stub.CreateContainerExec(ask, metadata=KEY)
        assert (result.stdout, result.outcome.exit_code) == ("a\n", 2)
        follow = FollowContainerExecRequest(container_id=container, exec_id=result.id)
        assert [event.type for event in stub.FollowContainerExec(follow, metadata=KEY)] == [
            "started",
            "output",
            "ended",
        ]
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateContainerExec(CreateContainerExecRequest(container_id=container), metadata=KEY)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def run(berth: Berth, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    options = ("--server", berth.grpc, "--key", KEY_A)
    return subprocess.run(
        command("exec", *options, *arguments),
        check=False,
        input=stdin,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        env=environment(),
    )


def test_the_command_line_passes_on_output_and_code(execs: Berth, client: httpx2.Client) -> None:
    """`berth exec` prints both streams and exits with the exit code of the command, 124 after a timeout."""
    container = new_container(client)
    done = run(execs, "--shell", container, "--", "echo a; echo b >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("a\n", "b\n", 7)
    done = run(execs, "--python", "--env", "A=b", container, "-", stdin="import os; print(os.environ['A'])")
    assert (done.stdout, done.returncode) == ("b\n", 0)
    done = run(execs, "--timeout", "0.2", container, "--", "sleep", "60")
    assert done.returncode == 124
    done = run(execs, "cntr_none", "--", "true")
    assert (done.returncode, "not found" in done.stderr) == (1, True)


def test_the_command_line_says_that_output_is_missing(execs: Berth, client: httpx2.Client) -> None:
    """Who saves output that was cut off learns of it; the exit code stays that of the command."""
    done = run(execs, "--shell", new_container(client), "--", "yes | head -c 1048577")
    assert (len(done.stdout), done.returncode) == (1_048_576, 0)
    assert done.stderr == "the output is longer than what the service keeps: its end is missing\n"


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e12", "2147484", "0", "-1"])
def test_the_command_line_refuses_a_timeout_that_is_none(execs: Berth, seconds: str) -> None:
    """The message names the option."""
    done = run(execs, "--timeout", seconds, "cntr_none", "--", "true")
    assert (done.returncode, "'--timeout'" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize("arguments", [("--stdin", "cntr_none", "--", "cat"), ("--python", "cntr_none", "-")])
def test_the_command_line_refuses_input_that_is_no_text(execs: Berth, arguments: tuple[str, ...]) -> None:
    """The message says that it is stdin."""
    done = run(execs, *arguments, stdin="\udcff")
    assert done.returncode == 2
    assert done.stderr.startswith("berth: stdin is not valid UTF-8")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (None, 1)]
)
def test_an_interrupted_command_is_ended(execs: Berth, client: httpx2.Client, number: int | None, code: int) -> None:
    """After Ctrl-C, other signals, also twice, or the end of a pipe `berth exec` exits and the command is ended."""
    container = new_container(client)
    script = "echo a; sleep 60" if number else "while :; do echo a; sleep 0.1; done"
    arguments = command("exec", "--server", execs.grpc, "--key", KEY_A, "--shell", container, "--", script)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"a\n"
        if number is None:
            process.stdout.close()
        else:
            process.send_signal(number)
            process.send_signal(number)
        assert process.wait(30) == code
    path = f"/v1/containers/{container}/execs"
    wait_until(lambda: client.get(path).json()["data"][0].get("outcome") == {"type": "cancelled"})


class Waiting(ContainerExecServiceServicer):
    """A service that starts commands only when it may; it notes which it was asked to end."""

    def __init__(self) -> None:
        self.asked, self.may_start, self.has_ended = Event(), Event(), Event()
        self.ended: list[str] = []

    def StreamContainerExec(self, request: Any, context: Any) -> Iterator[ExecEvent]:  # noqa: ARG002, N802 - grpc's
        """Say that a command is started, and nothing more."""
        self.asked.set()
        self.may_start.wait()
        yield ExecEvent(type="started", exec=Exec(id="exec_1"))
        self.has_ended.wait(30)

    def CancelContainerExec(self, request: Any, context: Any) -> Exec:  # noqa: ARG002, N802 - grpc's
        """Note the id."""
        self.ended.append(request.exec_id)
        self.has_ended.set()
        return Exec()


def test_a_command_that_waits_is_ended_at_its_start() -> None:
    """After Ctrl-C while a command waits for memory, `berth exec` ends it when it has its id."""
    service, server = Waiting(), grpc.server(ThreadPoolExecutor(2))  # type: ignore[abstract]
    add_ContainerExecServiceServicer_to_server(service, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    arguments = command("exec", "--server", address, "box", "--", "sleep", "60")
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment()) as process:
        assert service.asked.wait(30)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        service.may_start.set()
        assert process.wait(30) == INTERRUPTED
    assert service.ended == ["exec_1"]
    server.stop(None).wait()


def test_the_trail_and_the_metrics_know_commands(execs: Berth, client: httpx2.Client, path: str) -> None:
    """The audit trail has the start and the end of a command with its hash, and its text is nowhere in the log."""
    exec_id = client.post(path, json={"command": "echo very-secret-text"}).json()["id"]
    (started,) = execs.lines(event="exec.started", id=exec_id)
    (ended,) = execs.lines(event="exec.ended", id=exec_id)
    assert (started["audit"], started["tenant"], len(started["command_sha256"])) == (True, "a", 64)
    assert (ended["outcome"], ended["exit_code"]) == ("exit", 0)
    assert started["request_id"]
    assert "very-secret-text" not in execs.log.read_text()
