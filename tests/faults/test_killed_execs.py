"""Commands when the service that runs them ends: as it should, or without warning."""

import random
import secrets
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from berth.core.exec.store import LEASE_SECONDS
from support.clients.polling import wait_until
from support.measuring.processes import processes_with
from support.measuring.soak import soak, times
from support.sandboxes.needed import BY_ITSELF, needs_sandbox
from support.servers.berth import KEY_A, Berth, running, start
from support.servers.exec_program import PROGRAM

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
KILLS, AT_ONCE, FILES = times(5, 200), 4, 3
GONE_SECONDS = 10.0
"""Within a second all processes end; a busy machine takes longer to see it."""
SLACK_SECONDS = 10.0
"""How much later than at the end of a lease a busy machine may see it."""
UNTIL_BERTH_ENDS = "touch made; echo a; while kill -0 $PPID; do sleep 0.05; done"
"""The fake sandbox does not end its commands with Berth, so this one does so by itself."""


def calling(berth: Berth) -> httpx2.Client:
    return httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=30)


def test_a_running_command_ends_before_the_service(tmp_path: Path) -> None:
    """At SIGTERM a command in the background is finished, with its files, before the service exits with 0."""
    berth = start(tmp_path, SETTINGS, program=PROGRAM)
    with calling(berth) as client:
        path = f"/v1/containers/{client.post('/v1/containers', json={'name': 'box'}).json()['id']}"
        body = {"command": "touch made; sleep 1.5; echo a", "background": True}
        exec_id = client.post(f"{path}/execs", json=body).json()["id"]
    assert berth.stop() == 0
    assert berth.process.stdout is not None
    berth.process.stdout.close()
    with running(tmp_path, SETTINGS, program=PROGRAM) as again, calling(again) as client:
        result = client.get(f"{path}/execs/{exec_id}").json()
        assert (result["outcome"], result["stdout"]) == ({"type": "exit", "exit_code": 0}, "a\n")
        assert [file["path"] for file in client.get(f"{path}/files").json()["data"]] == ["/mnt/data/made"]


def test_a_command_is_lost_with_the_service(tmp_path: Path) -> None:
    """After kill -9 a command is lost within its lease, nothing of it is stored, and its container is free again."""
    berth = start(tmp_path, SETTINGS, program=PROGRAM)
    with calling(berth) as client:
        path = f"/v1/containers/{client.post('/v1/containers', json={'name': 'box'}).json()['id']}"
        kept = client.post(f"{path}/files?filename=kept&file_path=kept", content=b"kept").json()
        exec_id = client.post(f"{path}/execs", json={"command": UNTIL_BERTH_ENDS, "background": True}).json()["id"]
        wait_until(lambda: any((tmp_path / "data").glob("exec-*/exec_*/changes/work/made")))
    berth.process.send_signal(signal.SIGKILL)
    berth.process.wait()
    killed = time.monotonic()
    assert berth.process.stdout is not None
    berth.process.stdout.close()
    with running(tmp_path, SETTINGS, program=PROGRAM) as again, calling(again) as client:
        assert not any((tmp_path / "data").glob("exec-*/exec_*"))
        assert client.post(f"{path}/execs", json={"command": "true"}).json()["error"]["code"] == "container_busy"
        wait_until(lambda: client.get(f"{path}/execs/{exec_id}").json()["status"] == "completed")
        assert time.monotonic() - killed <= LEASE_SECONDS + SLACK_SECONDS
        assert client.get(f"{path}/execs/{exec_id}").json()["outcome"] == {"type": "lost"}
        assert [file["id"] for file in client.get(f"{path}/files").json()["data"]] == [kept["id"]]
        assert client.post(f"{path}/execs", json={"command": "cat kept"}).json()["stdout"] == "kept"
        blobs = [one for one in (tmp_path / "data" / "blobs").rglob("*") if one.is_file()]
        assert [one.read_bytes() for one in blobs] == [b"kept"]


class Kills:
    """Commands in the real sandbox of a Berth that is killed again and again, and what is known of each."""

    def __init__(self, folder: Path) -> None:
        self.mark = secrets.token_hex(8)
        self.acknowledged: dict[str, str] = {}
        self.begun: list[str] = []
        self._folder = folder
        self._dice = random.Random(0)  # noqa: S311 - no secret

    def round(self) -> None:
        """Run commands of different length, kill Berth while some of them run, and check that no process is left."""
        berth = start(self._folder, SETTINGS, inside=BY_ITSELF)
        with calling(berth) as client, ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(self._run, client, self._dice.uniform(0, 0.5)) for _ in range(AT_ONCE)]
            time.sleep(self._dice.uniform(0.05, 0.8))
            berth.process.send_signal(signal.SIGKILL)
            berth.process.wait()
            killed = time.monotonic()
            wait_until(lambda: not processes_with(self.mark))
            assert time.monotonic() - killed <= GONE_SECONDS
            for each in running:
                each.result()
        assert berth.process.stdout is not None
        berth.process.stdout.close()

    def check(self) -> Counter[str]:
        """Compare all commands and files with what is known once the last lease has ended; return the outcomes."""
        with running(self._folder, SETTINGS, inside=BY_ITSELF) as berth, calling(berth) as client:
            until = time.monotonic() + LEASE_SECONDS + SLACK_SECONDS
            outcomes = Counter(self._outcome(client, container, until=until) for container in self.begun)
            for container in self.begun:
                assert client.post(f"/v1/containers/{container}/execs", json={"command": "true"}).status_code == 200
        return outcomes

    def _run(self, client: httpx2.Client, seconds: float) -> None:
        with suppress(httpx2.HTTPError):  # it was killed
            container = client.post("/v1/containers", json={"name": "box"}).json()["id"]
            made = "; ".join(f"echo {number} > {number}" for number in range(FILES))
            body = {"command": f": {self.mark}; echo begun; {made}; sleep {seconds:.3f}; {made}"}
            self.begun.append(container)
            result = client.post(f"/v1/containers/{container}/execs", json=body).json()
            if result.get("outcome") == {"type": "exit", "exit_code": 0}:
                self.acknowledged[container] = result["id"]

    def _outcome(self, client: httpx2.Client, container: str, *, until: float) -> str:
        path = f"/v1/containers/{container}"
        while any(one["status"] == "running" for one in client.get(f"{path}/execs").json()["data"]):
            assert time.monotonic() < until, "a lease was not free in time"
            time.sleep(0.1)
        results = client.get(f"{path}/execs").json()["data"]
        outcome = results[0]["outcome"]["type"] if results else "none"
        files = client.get(f"{path}/files").json()["data"]
        assert len(files) == (FILES if outcome == "exit" else 0), "what a command changed is stored, or nothing of it"
        if container in self.acknowledged:
            assert (results[0]["id"], outcome) == (self.acknowledged[container], "exit")
        return outcome


@soak
@needs_sandbox
@pytest.mark.timeout(3600)
def test_kills_leave_no_process_and_nothing_half(tmp_path: Path) -> None:
    """Whenever Berth is killed, its commands end at once, are stored as a whole or not, and free their containers."""
    kills = Kills(tmp_path)
    for _ in range(KILLS):
        kills.round()
    outcomes = kills.check()
    print(f"\n{KILLS} kills: {len(kills.acknowledged)} acknowledged, outcomes {dict(outcomes)}")  # noqa: T201 - figures
    assert outcomes["lost"]
    assert set(outcomes) <= {"exit", "lost", "none"}
