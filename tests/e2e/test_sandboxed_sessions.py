"""A whole Berth with sessions of Python in the real sandbox, over REST and gRPC."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest

from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, ExecCode, StreamContainerExecRequest
from berth.v1.container_exec_service_pb2_grpc import ContainerExecServiceStub
from support.clients.polling import wait_until
from support.measuring.processes import processes_with
from support.servers.process import BerthProcess, running_berth

ENVIRON = {"BERTH_EXEC__DRIVER": "auto", "BERTH_EXEC__SESSION_IDLE_SECONDS": "600"}
INTERPRETER = "Session().serve"
"""What the arguments of the interpreters of sessions have."""
pytestmark = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user cannot make namespaces, which a sandbox consists of",
)


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BerthProcess]:
    with running_berth("up", tmp_path_factory.mktemp("berth") / "data", environ=ENVIRON) as berth:
        yield berth


@pytest.fixture
def client(berth: BerthProcess) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{berth.ready['rest']}/v1", headers=berth.authorization(), timeout=60) as client:
        yield client


@pytest.fixture
def container(client: httpx2.Client) -> Iterator[str]:
    """Return the id of a new container, which is deleted in the end."""
    created: str = client.post("/containers", json={"name": "box", "provider": "groq"}).json()["id"]
    yield created
    client.delete(f"/containers/{created}")


def run(client: httpx2.Client, container: str, source: str, session: str = "default", **more: Any) -> Any:
    """Run a program in a session; return the result."""
    body = {"code": {"language": "python", "source": source, "session": session}, **more}
    answer = client.post(f"/containers/{container}/execs", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed_files(client: httpx2.Client, container: str) -> list[Any]:
    """Return the files of a container."""
    found: list[Any] = client.get(f"/containers/{container}/files").json()["data"]
    return found


def test_a_notebook(client: httpx2.Client, container: str) -> None:
    """Variables are kept, the last expression is printed, an error is a traceback, and files go both ways."""
    client.post(f"/containers/{container}/files", files={"file": ("data.csv", b"1\n2\n")}).raise_for_status()
    first = run(client, container, "import glob\nrows = [int(line) for line in open(glob.glob('*.csv')[0])]\nlen(rows)")
    assert first["stderr"] == ""
    assert (first["stdout"], first["session"], first["session_restarted"]) == ("2\n", "default", False)
    failed = run(client, container, "rows[7]")
    assert failed["outcome"] == {"type": "exit", "exit_code": 1}
    assert "IndexError" in failed["stderr"]
    made = run(client, container, "open('sum.txt', 'w').write(str(sum(rows)))")
    (file,) = made["files"]
    assert (file["path"], file["source"], made["stdout"]) == ("/mnt/data/sum.txt", "assistant", "1\n")
    assert client.get(f"/containers/{container}/files/{file['id']}/content").content == b"3"
    (data,) = (file for file in listed_files(client, container) if file["path"].endswith("data.csv"))
    client.delete(f"/containers/{container}/files/{data['id']}").raise_for_status()
    client.post(f"/containers/{container}/files", files={"file": ("new.csv", b"7")}).raise_for_status()
    seen = run(client, container, "[open(path).read() for path in glob.glob('*.csv')]")
    assert (seen["stdout"], seen["files"]) == ("['7']\n", [])
    run(client, container, "import os\nos.remove('sum.txt')")
    assert [file["path"][-7:] for file in listed_files(client, container)] == ["new.csv"]
    (listed, *_) = client.get(f"/containers/{container}/execs").json()["data"]
    assert listed["session"] == "default"


def test_variables_of_the_environment_are_those_of_one_program(client: httpx2.Client, container: str) -> None:
    """They are set for a program alone, and the time is that of the zone which they name."""
    seen = "import os, time\nprint(os.environ.get('A'), time.strftime('%Z'))"
    assert run(client, container, seen, env={"A": "b", "TZ": "XYZ-5"})["stdout"] == "b XYZ\n"
    assert run(client, container, seen)["stdout"] == "None UTC\n"


def test_sessions_share_nothing(client: httpx2.Client, container: str) -> None:
    """Neither two containers nor two sessions of one have the same variables."""
    other = client.post("/containers", json={"name": "other", "provider": "groq"}).json()["id"]
    run(client, container, "secret = 1\nopen('/tmp/secret', 'w').close()")
    for place, session in ((other, "default"), (container, "second")):
        seen = run(client, place, "import os\nprint('secret' in globals(), os.listdir('/tmp'))", session)
        assert seen["stdout"] == "False []\n"
    client.delete(f"/containers/{other}")


def test_what_ends_a_session_is_said(client: httpx2.Client, container: str) -> None:
    """A timeout interrupts and keeps variables; too much memory ends the session, and the next program is told."""
    run(client, container, "x = 1")
    interrupted = run(client, container, "while True: pass", timeout_ms=300)
    assert interrupted["outcome"] == {"type": "timeout"}
    assert "KeyboardInterrupt" in interrupted["stderr"]
    for waiting in ("await asyncio.Event().wait()", "await asyncio.sleep(0)\nwhile True: pass"):
        interrupted = run(client, container, f"import asyncio\n{waiting}", timeout_ms=300)
        assert interrupted["outcome"] == {"type": "timeout"}
        assert interrupted["stderr"].endswith("\nKeyboardInterrupt\n")
    assert run(client, container, "await asyncio.sleep(0)\nx")["stdout"] == "1\n"
    assert run(client, container, "y = bytearray(1200 << 20)\nimport time; time.sleep(20)")["outcome"] == {
        "type": "memory"
    }
    again = run(client, container, "'x' in globals()")
    assert (again["stdout"], again["session_restarted"]) == ("False\n", True)


def test_a_deleted_container_ends_its_session(client: httpx2.Client, container: str) -> None:
    """An interpreter that is idle ends soon after its container is deleted."""
    before = processes_with(INTERPRETER)
    run(client, container, "1", "to-be-ended")
    assert set(processes_with(INTERPRETER)) - set(before)
    client.delete(f"/containers/{container}").raise_for_status()
    wait_until(lambda: not set(processes_with(INTERPRETER)) - set(before))


def test_nothing_is_left_after_a_kill(tmp_path: Path) -> None:
    """Interpreters end with a Berth that is killed."""
    code = {"code": {"language": "python", "source": "x = 1", "session": "default"}}
    others = set(processes_with(INTERPRETER))
    with running_berth("up", tmp_path / "data", environ=ENVIRON) as berth:
        _, made = berth.call("POST", "/v1/containers", {"name": "box", "provider": "groq"})
        status, _ = berth.call("POST", f"/v1/containers/{made['id']}/execs", code)
        assert status == 200
        assert set(processes_with(INTERPRETER)) - others
        berth.process.kill()
        berth.process.wait()
        wait_until(lambda: not set(processes_with(INTERPRETER)) - others)


def test_a_warm_program_is_fast(berth: BerthProcess, container: str) -> None:
    """Over gRPC, a trivial program takes milliseconds, and a stream ends with its result. The figures are printed."""
    with grpc.insecure_channel(berth.ready["grpc"]) as channel:
        stub, key = ContainerExecServiceStub(channel), (("authorization", f"Bearer {berth.ready['virtual_key']}"),)
        code = ExecCode(language="python", source="print(1)", session="default")
        request = CreateContainerExecRequest(container_id=container, code=code)
        times = []
        for _ in range(60):
            begun = time.perf_counter()
            assert stub.CreateContainerExec(request, metadata=key).stdout == "1\n"
            times.append(time.perf_counter() - begun)
        streamed = StreamContainerExecRequest(container_id=container, code=code)
        events = [event.type for event in stub.StreamContainerExec(streamed, metadata=key)]
    sys.stdout.write(f"cold {times[0] * 1000:.0f} ms, warm p50 {sorted(times)[30] * 1000:.1f} ms\n")
    assert events == ["started", "output", "ended"]
    assert min(times) < 0.05  # the fastest one, since a busy machine makes others wait


def test_berth_exec_has_sessions(berth: BerthProcess, container: str, tmp_path: Path) -> None:
    """`berth exec --python --session` runs its program in a session."""
    options = ["--server", berth.ready["grpc"], "--key", berth.ready["virtual_key"], "--session", "mine"]
    for source, said in (("x = 1", ""), ("x + 1", "2\n")):
        command = [sys.executable, "-m", "berth", "exec", *options, "--python", container, "--", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)
        assert (done.stdout, done.returncode) == (said, 0), done.stderr
