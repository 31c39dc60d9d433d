"""`berth up`, `serve` and `envoy-config` as programs: what they print, and how they stop."""

import asyncio
import json
import os
import pty
import shlex
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import yaml
from grpc_health.v1 import health_pb2

from berth.launch.envoy.admin import EnvoyAdmin
from support.clients.polling import answers, health_of, wait_until
from support.measuring.processes import open_files
from support.sandboxes.needed import needs_sandbox
from support.servers.berth import STOP_SECONDS, environment
from support.servers.process import BerthProcess, free_ports, refused_berth, running_berth
from support.servers.starting import command

UNAUTHORIZED = 401
BROKEN = 1


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[BerthProcess]:
    with running_berth("up", tmp_path / "data") as process:
        yield process


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process listens."""
    sockets = {str(link) for link in open_files(pid)}
    table = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {int(row[1].rpartition(":")[2], 16) for row in table if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def start_upload(berth: BerthProcess, folder: Path) -> HTTPConnection:
    """Begin an upload whose second half is still to come; return when Envoy is at it."""
    status, container = berth.call("POST", "/v1/containers", {"provider": "ollama", "name": "a"})
    assert status == 200
    connection = berth.connect()
    connection.putrequest("POST", f"/v1/containers/{container['id']}/files?filename=a.txt")
    for name, value in {**berth.authorization(), "Content-Type": "text/plain", "Content-Length": "10"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"first")
    (private,) = folder.glob("run-*")
    envoy = EnvoyAdmin(private / "admin")
    wait_until(lambda: asyncio.run(envoy.active_requests()) == 1)
    return connection


def test_up_says_ready_in_one_line_when_both_answer(berth: BerthProcess) -> None:
    """The line on stdout has both addresses and the key, and all three work at once; nothing else is on stdout."""
    assert list(berth.ready) == ["event", "rest", "grpc", "virtual_key"]
    assert berth.ready["event"] == "ready"
    assert berth.ready["virtual_key"].startswith("sk-bf-")
    assert berth.call("GET", "/v1/containers")[0] == 200
    assert health_of(berth.ready["grpc"]) == health_pb2.HealthCheckResponse.SERVING
    assert berth.end(signal.SIGTERM) == 0
    assert berth.rest_of_stdout() == ""


def test_the_key_is_not_printed_into_pipes(tmp_path: Path) -> None:
    """Without --show-key, outputs that may be kept in a log name the file with the key, whose content works."""
    with running_berth("up", tmp_path / "data", "--banner", show_key=False) as berth:
        key = (tmp_path / "data" / "first-key").read_text().strip()
        assert list(berth.ready) == ["event", "rest", "grpc"]
        assert berth.call("GET", "/v1/containers", **{"x-bf-vk": key})[0] == 200
        wait_until(lambda: "Ctrl-C" in berth.errors)
        line = berth.errors[berth.errors.index("curl ") :].partition("\n\n")[0]
        answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=60)
        assert json.loads(answer.stdout)["name"] == "my-container"
        assert "Run Python" not in berth.errors  # no commands are run here
        berth.end(signal.SIGTERM)
        assert key not in berth.errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_success_and_leaves_nothing_behind(berth: BerthProcess, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C exit with 0 and take Envoy along."""
    assert berth.end(number) == 0
    assert not answers(berth.ready["grpc"])
    assert not answers(berth.ready["rest"].removeprefix("http://"))


def test_what_only_envoy_may_use_is_private_and_removed(tmp_path: Path) -> None:
    """The sockets between Berth and Envoy and the secrets are in a folder for this user only, which ends with Berth."""
    temporary, data = tmp_path / "t", tmp_path / "data"
    temporary.mkdir()
    with running_berth("up", data, environ={"TMPDIR": str(temporary)}) as berth:
        (private,) = data.glob("run-*")
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in (private, private / "secrets")] == [0o700, 0o700]
        assert all((private / name).is_socket() for name in ("grpc", "admin"))
        assert berth.end(signal.SIGTERM) == 0
    assert not private.exists()
    assert list(temporary.iterdir()) == []


def test_after_kill_nothing_temporary_stays(tmp_path: Path) -> None:
    """After kill -9 the temporary directory is empty, and the next start removes the private folder of the dead one."""
    temporary, data = tmp_path / "t", tmp_path / "data"
    temporary.mkdir()
    with running_berth("up", data, environ={"TMPDIR": str(temporary)}) as berth:
        (killed,) = data.glob("run-*")
        berth.end(signal.SIGKILL)
    assert list(temporary.iterdir()) == []
    with running_berth("up", data):
        assert not killed.exists()


def test_the_admin_interface_of_envoy_is_on_no_port(berth: BerthProcess) -> None:
    """Envoy listens on the REST port alone: other users of the machine cannot reach its admin interface."""
    (envoy,) = berth.children()
    assert listening_ports(envoy) == {int(berth.ready["rest"].rpartition(":")[2])}


def test_envoy_gets_no_secrets_of_the_environment(tmp_path: Path) -> None:
    """Keys and passwords in the environment of Berth are not in the environment of Envoy."""
    keys = '[{"name": "a", "value": "env:KEY_OF_A", "tenant": "a"}]'
    environ = {"BERTH_AUTH__VIRTUAL_KEYS": keys, "KEY_OF_A": "sk-bf-of-a"}
    with running_berth("up", tmp_path / "data", environ=environ) as berth:
        (envoy,) = berth.children()
        names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{envoy}/environ").read_bytes().split(b"\0")}
    assert names <= {b"PATH", b"LD_LIBRARY_PATH", b"TZ", b"LC_CTYPE", b""}


def test_into_a_pipe_every_log_line_is_json(berth: BerthProcess) -> None:
    """Without a terminal there is no banner, and service and Envoy alike write one JSON object a line."""
    request_id = "11111111-2222-4333-8444-555555555555"
    berth.call("GET", "/v1/containers", **{"x-request-id": request_id})
    berth.end(signal.SIGTERM)
    events = [json.loads(line) for line in berth.errors.splitlines()]
    assert {line["event"] for line in events if line.get("request_id") == request_id} == {
        "call.finished",
        "request.proxied",
    }


def test_questions_for_the_health_are_not_logged(berth: BerthProcess) -> None:
    """Balancers ask for the health all the time: neither the service nor Envoy logs that, as they log other pages."""
    for path in ("/healthz", "/readyz", "/openapi.json"):
        assert berth.call("GET", path, **{"x-request-id": f"asks-{path}"})[0] == 200
    berth.end(signal.SIGTERM)
    events = [json.loads(line) for line in berth.errors.splitlines()]
    asked = [line["request_id"] for line in events if str(line.get("request_id")).startswith("asks-")]
    assert asked == ["asks-/openapi.json"]


def test_the_first_key_is_kept(tmp_path: Path) -> None:
    """A second start prints the same key, whose file only its owner reads."""
    keys = []
    for _ in range(2):
        with running_berth("serve", tmp_path / "data") as berth:
            keys.append(berth.ready["virtual_key"])
            assert berth.end(signal.SIGTERM) == 0
    assert keys[0] == keys[1]
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "first-key").stat().st_mode) == 0o600


def test_serve_needs_no_envoy(tmp_path: Path) -> None:
    """`berth serve` runs gRPC alone and says so without an address for REST."""
    with running_berth("serve", tmp_path / "data") as berth:
        assert list(berth.ready) == ["event", "grpc", "virtual_key"]
        assert health_of(berth.ready["grpc"]) == health_pb2.HealthCheckResponse.SERVING
        assert berth.children() == []


def test_with_callers_of_the_configuration_there_is_no_first_key(tmp_path: Path) -> None:
    """As soon as a caller is configured, no other key is made, printed or accepted."""
    keys = '[{"name": "a", "value": "env:KEY_OF_A", "tenant": "a"}]'
    environ = {"BERTH_AUTH__VIRTUAL_KEYS": keys, "KEY_OF_A": "sk-bf-of-a"}
    with running_berth("up", tmp_path / "data", environ=environ) as berth:
        assert "virtual_key" not in berth.ready
        assert not (tmp_path / "data" / "first-key").exists()
        assert berth.call("GET", "/v1/containers")[0] == UNAUTHORIZED
        assert berth.call("GET", "/v1/containers", **{"x-bf-vk": "sk-bf-of-a"})[0] == 200


def test_open_access_is_warned_about(tmp_path: Path) -> None:
    """`auth.mode: none` lets everybody in, and every start says so."""
    with running_berth("up", tmp_path / "data", environ={"BERTH_AUTH__MODE": "none"}) as berth:
        assert berth.call("GET", "/v1/containers")[0] == 200
        assert "virtual_key" not in berth.ready
        berth.end(signal.SIGTERM)
    assert [line["level"] for line in map(json.loads, berth.errors.splitlines()) if line["event"] == "auth.off"] == [
        "warning"
    ]


def test_a_start_with_nothing_wrong_says_nothing(tmp_path: Path) -> None:
    """Settings that are in force are no news: there is nothing in the log."""
    config = tmp_path / "berth.yaml"
    config.write_text(
        "auth: {virtual_keys: [{name: a, value: sk-bf-a, tenant: a, max_in_flight: 5}]}\n"
        "hosted: {retention_hours: 48}\n"
        "exec: {driver: 'off'}\n"  # whether a sandbox works here is news
    )
    with running_berth("up", tmp_path / "data", "--config", str(config)) as berth:
        berth.end(signal.SIGTERM)
    assert berth.errors == ""


@needs_sandbox
def test_the_curl_lines_of_the_banner_work(tmp_path: Path) -> None:
    """Who pastes them has a container, and has run Python in it."""
    with running_berth("up", tmp_path / "data", "--banner", environ={"BERTH_EXEC__DRIVER": "auto"}) as berth:
        wait_until(lambda: "Ctrl-C" in berth.errors)
        assert f"pages  {berth.ready['rest']}/console and {berth.ready['rest']}/docs\n" in berth.errors
        create, run = (_pasted(part) for part in berth.errors.split("\n\n") if "curl" in part)
        assert create[0] == f"{berth.ready['rest']}/v1/containers"
        status, container = berth.call("POST", "/v1/containers", create[1], **create[2])
        path = run[0].removeprefix(berth.ready["rest"]).replace("ID", container["id"])
        result = berth.call("POST", path, run[1], **run[2])[1]
    assert (status, container["extra_fields"]["provider"]) == (200, "ollama")
    assert (result["stdout"], result["outcome"]["exit_code"]) == ("42\n", 0)


def _pasted(curl: str) -> tuple[str, Any, dict[str, str]]:
    """Return the address, the JSON and the headers that a line for curl sends."""
    _, url, *options = shlex.split(curl.replace("\\\n", ""))
    pairs = list(zip(options[::2], options[1::2], strict=True))
    headers = dict(value.split(": ", 1) for option, value in pairs if option == "-H")
    return url, json.loads(next(value for option, value in pairs if option == "-d")), headers


def test_a_terminal_gets_a_banner_and_readable_logs(tmp_path: Path) -> None:
    """People see the banner unasked, and no JSON."""
    ours, theirs = pty.openpty()
    arguments = command("up", "--data-dir", str(tmp_path / "data"), *free_ports("up"))
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=theirs, env=environment()) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "ready"
        shown = ""
        while "Berth is ready." not in shown:  # lines of the log may be read by themselves
            shown += os.read(ours, 65536).decode()
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    os.close(ours)
    os.close(theirs)
    assert '{"event"' not in shown


def test_what_runs_is_finished_before_the_end(berth: BerthProcess, tmp_path: Path) -> None:
    """An upload that is half there when SIGTERM comes is completed, while new connections are refused."""
    upload = start_upload(berth, tmp_path / "data")
    berth.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not answers(berth.ready["rest"].removeprefix("http://")))
    assert health_of(berth.ready["grpc"]) == health_pb2.HealthCheckResponse.NOT_SERVING
    upload.send(b"again")
    response = upload.getresponse()
    assert (response.status, json.loads(response.read())["bytes"]) == (200, 10)
    upload.close()
    assert berth.end() == 0


def test_a_second_signal_ends_it_at_once(berth: BerthProcess, tmp_path: Path) -> None:
    """Who presses Ctrl-C twice does not wait for what runs."""
    upload = start_upload(berth, tmp_path / "data")
    berth.process.send_signal(signal.SIGINT)
    wait_until(lambda: not answers(berth.ready["rest"].removeprefix("http://")))
    started = time.monotonic()
    assert berth.end(signal.SIGINT) == BROKEN
    assert time.monotonic() - started < 15
    upload.close()


def test_envoy_dies_with_berth(berth: BerthProcess) -> None:
    """After kill -9 no Envoy stays behind that answers for a service that is gone."""
    assert len(berth.children()) == 1
    assert berth.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not answers(berth.ready["rest"].removeprefix("http://")))


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    """Spaces, percent signs and Japanese in the path of the data folder change nothing."""
    folder = tmp_path / "a folder" / "100%25 日本"
    with running_berth("up", folder) as berth:
        assert berth.call("POST", "/v1/containers", {"provider": "ollama", "name": "a"})[0] == 200
        assert berth.end(signal.SIGTERM) == 0
    assert {"berth.db", "blobs", "first-key"} <= {path.name for path in folder.iterdir()}


def test_envoy_config_prints_the_bootstrap(tmp_path: Path) -> None:
    """What is printed is the YAML that an Envoy starts with, with the addresses of the settings."""
    environ = {"BERTH_LISTEN__REST": "[::1]:1234", "BERTH_LISTEN__GRPC": "127.0.0.1:5678"}
    code, output, errors = refused_berth("envoy-config", "--data-dir", str(tmp_path / "data"), environ=environ)
    assert (code, errors) == (0, "")
    bootstrap = yaml.safe_load(output)
    (listener,) = bootstrap["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "::1", "port_value": 1234}
    assert not (tmp_path / "data").exists()


def test_envoy_config_says_that_a_certificate_is_not_renewed(tmp_path: Path) -> None:
    """With TLS and without `--secrets`, the bootstrap names the files, and a message says what is missing."""
    environ = {"BERTH_TLS__CERTIFICATE": str(tmp_path / "a.crt"), "BERTH_TLS__KEY": str(tmp_path / "a.key")}
    code, output, errors = refused_berth("envoy-config", environ=environ)
    assert code == 0
    assert f"filename: {tmp_path / 'a.crt'}" in output
    assert "--secrets FOLDER" in errors


def test_envoy_config_prints_an_envoy_filter(tmp_path: Path) -> None:
    """`--istio` prints the resource that a mesh takes."""
    code, output, _ = refused_berth("envoy-config", "--istio", "--data-dir", str(tmp_path / "data"))
    assert code == 0
    assert yaml.safe_load(output)["kind"] == "EnvoyFilter"


@pytest.mark.parametrize("name", ["up", "serve", "envoy-config"])
def test_every_command_explains_itself(name: str) -> None:
    """--help tells of --config and --data-dir everywhere."""
    code, output, _ = refused_berth(name, "--help", environ={"COLUMNS": "120", "TERM": "dumb"})
    assert code == 0
    assert "--config" in output
    assert "--data-dir" in output
