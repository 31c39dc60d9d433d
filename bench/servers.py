"""Starts what is measured, each server in processes of its own, when a row first asks for it."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

from support.servers.collector import Collector, collecting
from support.servers.postgres import Postgres, postgres_running

ROOT = Path(__file__).parent.parent
BENCH = Path(__file__).parent
KEY = "sk-bf-bench"
START_SECONDS = 90.0
MEBIBYTE = 1024 * 1024
_CPU_CLOCK = 2
"""CPUCLOCK_SCHED: see clock_getcpuclockid(3)."""

BERTH, OVER_GRPC, EARLIER = "Berth", "Berth, transport grpc", "earlier Berth"
EMPTY, PROVIDER = "empty grpc.aio", "the provider itself"
FASTAPI, LITELLM = "FastAPI + httpx", "LiteLLM"
POSTGRES, WORKERS, OTHER = "Berth, PostgreSQL", "Berth, two workers", "another Berth"
TRACED = "Berth, a tenth traced"


class NotInstalledError(Exception):
    """Something that a row compares with is not there; the text says what."""


class Server:
    """A running server: its addresses, its data, and the ids of its processes by part."""

    def __init__(self, process: "subprocess.Popen[bytes]", ready: Mapping[str, str], folder: Path) -> None:
        self.process, self.folder = process, folder
        self.rest, self.grpc = urlsplit(ready["rest"]).netloc, ready.get("grpc", "")
        self.known: dict[str, dict[str, str]] = {}
        """By provider: the ids of what rows work on."""
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        envoys = [pid for pid in children if b"--concurrency" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        self.parts = {"service": [process.pid, *(pid for pid in children if pid not in envoys)], "Envoy": envoys}

    def cpu_seconds(self, part: str) -> float:
        """Return the processor time that the processes of a part have used so far."""
        return sum(time.clock_gettime(~pid << 3 | _CPU_CLOCK) for pid in self.parts[part])

    def memory(self, part: str, field: str = "VmRSS") -> float:
        """Return the resident memory of a part in MiB: as it is, or with VmHWM its peak."""
        texts = (Path(f"/proc/{pid}/status").read_text() for pid in self.parts[part])
        return sum(int(text.partition(f"{field}:")[2].split()[0]) for text in texts) / 1024

    def forget_peak(self) -> float:
        """Let the peak of memory begin anew; return the memory of all parts in MiB."""
        for pid in (pid for pids in self.parts.values() for pid in pids):
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # see proc(5)
        return sum(map(self.memory, self.parts))

    def peak(self) -> float:
        """Return the peak of memory of all parts in MiB."""
        return sum(self.memory(part, "VmHWM") for part in self.parts)

    def stop(self) -> None:
        """Stop it and wait for its end."""
        self.process.terminate()
        self.process.wait()


class Servers:
    """All servers, by the names above; closing it stops them."""

    def __init__(self, against: Path | None, peers: Path) -> None:
        self.against, self._peers = against, peers
        self._stack, self._numbers = ExitStack(), count()
        self._running: dict[str, Server] = {}
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))

    def get(self, name: str) -> Server:
        """Return a server; it is started when it is first asked for."""
        if name not in self._running:
            self._running[name] = self.start(name)
            self._stack.callback(self._running[name].stop)
        return self._running[name]

    def close(self) -> None:
        """Stop all and remove their data."""
        self._stack.close()

    def start(self, name: str) -> Server:
        """Start a server, which the caller stops. NotInstalledError if it is not here."""
        if name == EARLIER:
            assert self.against is not None
            return self._berth(self.against)
        if name == EMPTY:
            return self._ready([sys.executable, str(BENCH / "ceiling.py"), str(self.new_folder() / "envoy")])
        if name == PROVIDER:
            return self._ready([sys.executable, str(BENCH / "upstream.py")])
        if name in {FASTAPI, LITELLM}:
            return self._peer(name)
        transport = "grpc" if name == OVER_GRPC else "http1"
        settings = {"REST__TRANSPORT": transport, "EXEC__CAPACITY_BYTES": str(64 * 1024 * MEBIBYTE)}
        if name == TRACED:
            settings |= {"TELEMETRY__ENDPOINT": self.collector.grpc, "TELEMETRY__SAMPLING_RATIO": "0.1"}
        if name == POSTGRES:
            settings["STORE__URL"] = self.postgres.fresh()
        return self._berth(ROOT, "--workers", "2" if name == WORKERS else "1", **settings)

    def _berth(self, root: Path, *options: str, **settings: str) -> Server:
        own, folder = root / ".venv" / "bin" / "python", self.new_folder()
        python = str(own) if own.exists() and root != ROOT else sys.executable
        (folder / "berth.yaml").write_text(json.dumps(self._configuration()))
        ports = ("--rest-port", "0", "--grpc-port", "0")
        files = ("--config", str(folder / "berth.yaml"), "--data-dir", str(folder / "data"))
        environ = {"PYTHONPATH": str(root / "service"), **{f"BERTH_{name}": text for name, text in settings.items()}}
        return self._ready([python, "-m", "berth", "up", *files, *ports, *options], environ, folder)

    def _configuration(self) -> Mapping[str, object]:
        upstream = f"http://{self.get(PROVIDER).rest}/v1"
        openai = {"backend": "openai", "base_url": upstream, "keys": [{"name": "main", "value": "sk-upstream"}]}
        key = {"name": "bench", "value": KEY, "tenant": "bench"}
        return {"providers": {"openai": openai}, "auth": {"virtual_keys": [key]}}

    def _peer(self, name: str) -> Server:
        program = self._peers / "bin" / ("uvicorn" if name == FASTAPI else "litellm")
        if not (program.exists() or (found := shutil.which(program.name))):
            raise NotInstalledError(f"{program.name} is neither in {self._peers} nor on PATH")
        port, upstream = _free_port(), self.get(PROVIDER).rest
        command = [str(program) if program.exists() else str(found), "--host", "127.0.0.1", "--port", str(port)]
        if name == FASTAPI:
            options = ("--no-access-log", "--app-dir", str(BENCH), "fastapi_proxy:app")
            return self._listening([*command, *options], port, UPSTREAM=f"http://{upstream}")
        config = self.new_folder() / "litellm.yaml"
        model = {"model_name": "any", "litellm_params": {"model": "openai/any"}}  # without one it routes nothing
        config.write_text(json.dumps({"model_list": [model], "general_settings": {"master_key": KEY}}))
        environ = {"OPENAI_API_BASE": f"http://{upstream}/v1", "OPENAI_API_KEY": "sk-upstream"}
        return self._listening([*command, "--config", str(config)], port, **environ)

    def _listening(self, command: list[str], port: int, **environ: str) -> Server:
        """Start a server that does not say when it is ready: it is when it listens."""
        folder = self.new_folder()
        process, deadline = self._run(command, environ, folder, says=False), time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return Server(process, {"rest": f"http://127.0.0.1:{port}"}, folder)
            time.sleep(0.1)
        process.kill()
        raise RuntimeError(f"{command[0]} did not start: {(folder / 'log').read_text()[-1000:]}")

    def _ready(
        self, command: list[str], environ: Mapping[str, str] | None = None, folder: Path | None = None
    ) -> Server:
        """Start a server that prints its addresses as a line of JSON when it is ready."""
        folder = folder or self.new_folder()
        process = self._run(command, environ or {}, folder)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{command} did not start: {(folder / 'log').read_text()[-1000:]}")
        return Server(process, json.loads(line), folder)

    def _run(
        self, command: list[str], environ: Mapping[str, str], folder: Path, *, says: bool = True
    ) -> "subprocess.Popen[bytes]":
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("BERTH_")}
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                command, stdout=subprocess.PIPE if says else log, stderr=log, env={**inherited, **environ}, cwd=folder
            )

    @cached_property
    def postgres(self) -> Postgres:
        """Return a running server of PostgreSQL."""
        return self._stack.enter_context(postgres_running())

    @cached_property
    def collector(self) -> Collector:
        """Return a running collector of traces."""
        return self._stack.enter_context(collecting())

    def new_folder(self) -> Path:
        """Return a new folder, which is removed at the end."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
