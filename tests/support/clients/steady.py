"""Programs in other languages that call a Berth without a pause, while it is restarted."""

import base64
import json
import subprocess
from pathlib import Path

from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest
from berth.v1.provider_pb2 import Provider
from support.servers.berth import KEY_A, SETTINGS, Berth, running, start
from toolchains.building import TOUR_SECONDS, environment

PROVIDER = Provider.PROVIDER_GROQ
CALLS = 10
"""How many containers a program creates before and after the restart, at least."""


def assert_survives_restart(folder: Path, *command: str, work: Path) -> None:
    """Run a program while a Berth is stopped and started; no call may fail, and none may be done twice."""
    with running(folder, SETTINGS) as first:
        program = _run(*command, work=work, address=first.grpc)
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "started\n", program.stderr
            first.lines(CALLS, event="container.created")
            assert first.stop() == 0
            before = len(first.lines(CALLS, event="container.created"))
            second = start(folder, SETTINGS, options=("--grpc-port", first.grpc.rpartition(":")[2]))
            try:
                second.lines(before + CALLS, event="container.created")
                said, errors = program.communicate("\n", timeout=TOUR_SECONDS)
                _assert_all_done(said, errors, second)
            finally:
                second.stop()
                _close(second)
        finally:
            program.kill()
            program.communicate()


def _run(*command: str, work: Path, address: str) -> "subprocess.Popen[str]":
    requests = {
        "BERTH_LIST": ListContainersRequest(provider=PROVIDER),
        "BERTH_CREATE": CreateContainerRequest(provider=PROVIDER, name="steady"),
    }
    encoded = {name: base64.b64encode(request.SerializeToString()).decode() for name, request in requests.items()}
    env = environment(BERTH_ADDRESS=address, BERTH_KEY=KEY_A, **encoded)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=work, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _assert_all_done(said: str, errors: str, berth: Berth) -> None:
    assert said, errors
    seen = json.loads(said.splitlines()[-1])
    assert seen["failures"] == []
    assert len(berth.lines(seen["created"], event="container.created")) == seen["created"]


def _close(berth: Berth) -> None:
    assert berth.process.stdout is not None
    berth.process.stdout.close()
