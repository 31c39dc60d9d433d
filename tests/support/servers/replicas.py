"""Several `berth serve` on one PostgreSQL and one S3, behind one Envoy with the configuration that `berth` prints."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import yaml

from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from support.servers.background import in_background
from support.servers.berth import KEY_A, STOP_SECONDS, environment, first_line
from support.servers.process import refused_berth
from support.servers.s3 import S3
from support.servers.starting import command

SILENT = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
    "listen": {"rest": "127.0.0.1:0"},
}


TRIES, TAKEN = 10, "Address already in use"


class Replica:
    """A `berth serve` that is started, drained and killed on the same port and with the same data folder."""

    def __init__(self, folder: Path, settings: Mapping[str, object], bucket: S3) -> None:
        folder.mkdir()
        self.port = _free_port()
        self._has_run = False
        self._config, self._data, self.log = folder / "berth.yaml", folder / "data", folder / "log"
        self._config.write_text(yaml.safe_dump(dict(settings)))
        self._inside = bucket.inside
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it serves gRPC."""
        return f"127.0.0.1:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether its process runs, ready or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; return when it is ready. Its port is its own only while it runs: others may have it meanwhile."""
        for _ in range(TRIES):
            try:
                self._start()
            except AssertionError as error:
                if TAKEN not in str(error):
                    raise
                self.port = self.port if self._has_run else _free_port()
            else:
                self._has_run = True
                return
        raise AssertionError(f"port {self.port} is not free")

    def _start(self) -> None:
        arguments = ("--config", str(self._config), "--data-dir", str(self._data), "--grpc-port", str(self.port))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._inside, *command("serve", *arguments)], stdout=subprocess.PIPE, stderr=log, env=environment()
            )
        assert json.loads(first_line(self._process, self.log))["event"] == "ready"

    def end(self, number: signal.Signals) -> int:
        """Send it a signal; return its exit code once it has ended."""
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(STOP_SECONDS)
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def restart(self, number: signal.Signals) -> int:
        """End it, and start it again; return the exit code."""
        code = self.end(number)
        self.start()
        return code

    def close(self) -> None:
        """Kill it if it runs."""
        if self._process is not None:
            self.end(signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@dataclass(frozen=True)
class Replicated:
    """Running replicas, and where Envoy answers for them."""

    rest: str
    replicas: list[Replica]


@contextmanager
def started(folder: Path, url: str, bucket: S3, count: int) -> Iterator[list[Replica]]:
    """Run replicas, all started at the same time, for as long as the context lasts."""
    settings = SETTINGS | bucket.settings | {"store": {"url": url}}
    replicas = [Replica(folder / f"replica-{number}", settings, bucket) for number in range(count)]
    try:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(Replica.start, replicas))
        yield replicas
    finally:
        for replica in replicas:
            replica.close()


@contextmanager
def replicated(folder: Path, url: str, bucket: S3, count: int = 3) -> Iterator[Replicated]:
    """Run replicas and an Envoy before them."""
    with started(folder, url, bucket, count) as replicas:
        envoy = running_envoy(
            _configuration(replicas, folder),
            folder / "envoy",
            listener="rest",
            grace_seconds=1.0,
            json_log=False,
            log=SILENT,
        )
        with in_background(envoy) as running:
            yield Replicated(f"http://127.0.0.1:{running.port}", replicas)


def _configuration(replicas: list[Replica], folder: Path) -> Any:
    """Return the bootstrap that `berth envoy-config` prints for replicas; its log is not needed."""
    config = folder / "edge.yaml"
    config.write_text(yaml.safe_dump({"listen": SETTINGS["listen"]}))
    options = [option for replica in replicas for option in ("--service", replica.address)]
    code, output, errors = refused_berth("envoy-config", "--config", str(config), *options)
    assert (code, errors) == (0, "")
    bootstrap = yaml.safe_load(output)
    filters = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    del filters[0]["typed_config"]["access_log"]
    return bootstrap | {"admin": {"address": {"pipe": {"path": ADMIN_SOCKET}}}}
