"""Starts the servers that the benchmarks measure, Berth and the server in ceiling.py, as separate processes."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit


class Target:
    """A server under test: its addresses and its processes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        self.grpc: str = ready["grpc"]
        self.rest = urlsplit(ready["rest"])
        self.key: str = ready.get("virtual_key", "none")
        pid = process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self.parts = {"service": pid, "envoy": int(children[0])}

    def cpu_seconds(self, part: str) -> float:
        """Return the processor time that a process has used so far."""
        fields = Path(f"/proc/{self.parts[part]}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class SideBySide(NamedTuple):
    """The two servers that are compared."""

    berth: Target
    ceiling: Target


@contextmanager
def side_by_side() -> Iterator[SideBySide]:
    """Start both servers and stop them at the end."""
    with tempfile.TemporaryDirectory() as folder:
        ceiling = [sys.executable, str(Path(__file__).with_name("ceiling.py")), f"{folder}/ceiling"]
        with _start(folder, _berth_command(folder), ceiling) as targets:
            yield SideBySide(*targets)


@contextmanager
def berth() -> Iterator[Target]:
    """Start Berth and stop it at the end."""
    with tempfile.TemporaryDirectory() as folder, _start(folder, _berth_command(folder)) as (target,):
        yield target


def _berth_command(folder: str) -> list[str]:
    ports = ("--rest-port", "0", "--grpc-port", "0")
    return [sys.executable, "-m", "berth", "up", "--data-dir", f"{folder}/data", *ports]


@contextmanager
def _start(folder: str, *commands: list[str]) -> Iterator[list[Target]]:
    with (Path(folder) / "log").open("wb") as log:
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) for command in commands]
        try:
            yield [Target(process) for process in processes]
        finally:
            for process in processes:
                process.terminate()
                process.wait()
