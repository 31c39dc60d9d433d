"""What becomes of calls when nobody takes the log any more."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from support.servers.berth import STOP_SECONDS, command, environment

CALLS = 400
"""A pipe holds 64 KiB, which is the log of about 150 calls."""


@contextmanager
def started(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, Any]]]:
    """Start `berth up` with a pipe as its stderr that is not read."""
    arguments = command("up", "--data-dir", str(folder), "--rest-port", "0", "--grpc-port", "0")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def statuses(ready: dict[str, Any]) -> set[int]:
    """Create many containers and return the statuses of the answers."""
    headers = {"authorization": f"Bearer {ready['virtual_key']}"}
    with httpx2.Client(base_url=ready["rest"], headers=headers) as client:
        new = {"name": "x", "provider": "ollama"}
        return {client.post("/v1/containers", json=new).status_code for _ in range(CALLS)}


def test_calls_go_on_without_a_reader_of_the_log(tmp_path: Path) -> None:
    """A pipe that nobody reads neither stops a call nor the end of the process."""
    with started(tmp_path) as (process, ready):
        assert statuses(ready) == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def test_calls_go_on_when_the_log_breaks(tmp_path: Path) -> None:
    """A pipe whose reader is gone does not turn what was done into an error."""
    with started(tmp_path) as (process, ready):
        assert process.stderr is not None
        process.stderr.close()
        assert statuses(ready) == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
