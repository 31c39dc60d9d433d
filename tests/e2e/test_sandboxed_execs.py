"""A whole Berth that runs commands in the real sandbox, over REST: what a stranger tries first."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from berth.core.limits import limits_of
from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest
from support.clients.polling import wait_until
from support.sandboxes.needed import BY_ITSELF, DRIVERS, needs_sandbox, settings_of
from support.servers.berth import KEY_A, KEY_B, environment
from support.servers.berth import running as running_with
from support.servers.process import BerthProcess, running_berth

pytestmark = needs_sandbox
SUM = """
import csv, glob
rows = list(csv.DictReader(open(glob.glob("*.csv")[0])))
open("sum.txt", "w").write(str(sum(int(row["a"]) for row in rows)))
print(len(rows), "rows")
"""


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Return the name of a driver."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def berth(driver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BerthProcess]:
    """Run a Berth with the settings that it has by itself, and the driver."""
    with running_berth("up", tmp_path_factory.mktemp("berth") / "data", environ=settings_of(driver)) as berth:
        yield berth


@pytest.fixture
def client(berth: BerthProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{berth.ready['rest']}/v1", headers=berth.authorization(), timeout=60) as client:
        yield client


@pytest.fixture
def container(client: httpx2.Client) -> str:
    """Return the id of a new container."""
    created: str = client.post("/containers", json={"name": "box", "provider": "groq"}).json()["id"]
    return created


def run(client: httpx2.Client, container: str, **what: object) -> Any:
    """Run something; return the result."""
    answer = client.post(f"/containers/{container}/execs", json=what)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_python_reads_a_file_and_makes_another(client: httpx2.Client, container: str, driver: str) -> None:
    """A file that was uploaded is there for Python, and the file that Python makes can be downloaded."""
    client.post(f"/containers/{container}/files", files={"file": ("data.csv", b"a,b\n1,2\n3,4\n")}).raise_for_status()
    done = run(client, container, code={"language": "python", "source": SUM})
    assert (done["stdout"], done["stderr"], done["outcome"]) == ("2 rows\n", "", {"type": "exit", "exit_code": 0})
    (made,) = done["files"]
    assert (made["path"], made["source"], done["isolation"]) == ("/mnt/data/sum.txt", "assistant", driver)
    assert client.get(f"/containers/{container}/files/{made['id']}/content").content == b"4"


def test_the_longest_variable_reaches_a_command(client: httpx2.Client, container: str) -> None:
    """What is accepted can be run: the kernel refuses a program with a longer one."""
    url = f"/containers/{container}/execs"
    longest = limits_of(CreateContainerExecRequest, "env").max_bytes - len("A")
    for length, status in ((longest, 200), (longest + 1, 400)):
        answer = client.post(url, json={"command": "printf %s $A | wc -c", "env": {"A": "x" * length}})
        assert answer.status_code == status
        assert status == 400 or answer.json()["stdout"] == f"{length}\n"


def test_a_command_sees_nothing_of_the_machine(client: httpx2.Client, container: str, berth: BerthProcess) -> None:
    """Not Berth's processes, its files, its network or its environment, nor another container's files."""
    folder = Path(f"/proc/{berth.process.pid}/cwd").readlink()
    done = run(
        client, container, command=f"ls {folder} /root /home; ls /proc | grep -c '^[0-9]'; env; cat /proc/1/environ"
    )
    assert str(berth.ready["virtual_key"]) not in done["stdout"] + done["stderr"]
    assert "BERTH" not in done["stdout"]
    port = berth.ready["rest"].rpartition(":")[2]
    code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
    assert run(client, container, code={"language": "python", "source": code})["outcome"]["exit_code"] == 1


def test_a_timeout_is_a_result(client: httpx2.Client, container: str) -> None:
    """Every process of the command is gone, and the next command runs."""
    done = run(client, container, command="(sleep 60 & sleep 60)", timeout_ms=300)
    assert done["outcome"] == {"type": "timeout"}
    assert run(client, container, argv=["echo", "next"])["stdout"] == "next\n"


def test_events_arrive_while_it_runs(client: httpx2.Client, container: str) -> None:
    """A stream has what the command writes as it comes, and ends with the result."""
    body = {"command": "echo one; read x; echo two", "stdin": "go\n"}
    with client.stream("POST", f"/containers/{container}/execs/stream", json=body) as events:
        text = "".join(events.iter_text())
    assert text.index('"started"') < text.index("one") < text.index('"ended"')


def test_nothing_survives_a_kill(driver: str, tmp_path: Path) -> None:
    """If Berth is killed its commands are gone within a second or two, and after a restart they are lost."""
    mark = f"98765.{os.getpid()}"
    with running_berth("up", tmp_path / "data", environ=settings_of(driver)) as berth:
        _, made = berth.call("POST", "/v1/containers", {"name": "box", "provider": "groq"})
        status, started = berth.call(
            "POST", f"/v1/containers/{made['id']}/execs", {"command": f"sleep {mark}", "background": True}
        )
        assert status == 200
        if driver == "gvisor":  # its processes show the guest, not what runs in it
            mark = f"guest-{started['id']}"
        wait_until(lambda: running(mark))
        berth.process.kill()
        berth.process.wait()
        wait_until(lambda: not running(mark))


def running(mark: str) -> bool:
    """Return whether a process runs that has `mark` as an argument."""
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in arguments.read_bytes().split(b"\0"):
                return True
    return False


def test_several_tenants_need_not_accept_a_shared_kernel(tmp_path: Path) -> None:
    """With gVisor each of several tenants runs commands; a session is refused with the reason."""
    keys = [{"name": name, "value": value, "tenant": name} for name, value in (("a", KEY_A), ("b", KEY_B))]
    settings = {
        "default_provider": "ollama",
        "auth": {"virtual_keys": keys},
        "exec": {"runsc": settings_of("gvisor")["BERTH_EXEC__RUNSC"]},
    }
    with running_with(tmp_path, settings, inside=BY_ITSELF) as berth:
        for key in (KEY_A, KEY_B):
            with httpx2.Client(base_url=f"{berth.rest}/v1", headers={"x-api-key": key}, timeout=60) as client:
                box = client.post("/containers", json={"name": "box"}).json()["id"]
                assert run(client, box, command="uname -r")["stdout"].endswith("gvisor\n")
                code = {"language": "python", "source": "1", "session": "default"}
                refused = client.post(f"/containers/{box}/execs", json={"code": code})
                assert (refused.status_code, refused.json()["error"]["code"]) == (400, "exec_unsupported")
                assert "run the code without 'session'" in refused.json()["error"]["message"]


def test_berth_exec_passes_on_output_and_code(berth: BerthProcess, container: str, tmp_path: Path) -> None:
    """`berth exec` prints what the command prints, and ends with its exit code."""
    options = ["--server", berth.ready["grpc"], "--key", berth.ready["virtual_key"]]
    command = [
        sys.executable,
        "-m",
        "berth",
        "exec",
        *options,
        container,
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 3",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment(), timeout=60
    )
    assert (done.stdout, done.returncode) == ("out\n", 3)
    assert "err\n" in done.stderr
