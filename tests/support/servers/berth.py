"""A whole Berth, as `berth up` runs it: the service and Envoy, on free ports."""

import json
import os
import selectors
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.servers.empty_database import put_empty_database
from support.servers.starting import Process, start_berth

START_SECONDS = 60.0
STOP_SECONDS = 40.0

KEY_A, KEY_B = "sk-bf-tenant-a", "sk-bf-tenant-b"
MAX_FILE_BYTES = 70_000_000
SETTINGS = {
    "default_provider": "ollama",
    "providers": {"openai": {"backend": "hosted"}, "cohere": {"backend": "unsupported"}},
    "auth": {
        "virtual_keys": [
            {"name": "a", "value": KEY_A, "tenant": "a"},
            {"name": "b", "value": KEY_B, "tenant": "b"},
            {"name": "only-groq", "value": "sk-bf-only-groq", "tenant": "a", "providers": ["groq"]},
        ],
        "basic_users": [{"name": "ops", "password": "pass:word", "tenant": "a"}],
    },
    "hosted": {"max_file_bytes": MAX_FILE_BYTES},
    "cors": {"origins": ["https://app.example"]},
}


@dataclass(frozen=True)
class Berth:
    """A running Berth: where it answers, the first key if there is one, and its process."""

    rest: str
    grpc: str
    virtual_key: str | None
    metrics: str | None
    process: Process[bytes]
    log: Path

    def lines(self, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of the log that have `fields`, once there are `count` of them: a thread writes them."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = [event for event in self.events() if fields.items() <= event.items()]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"the log has {len(found)} lines with {fields}"
            time.sleep(0.02)

    def events(self) -> list[dict[str, Any]]:
        """Return the events in the log so far; a line of which only a part has been written is none yet."""
        whole, _, _ = self.log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith('{"')]

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


UNWANTED = {"COLUMNS", "LINES", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}

UNCOUNTED = ("env", "-u", "COVERAGE_PROCESS_CONFIG")
"""Inside this, Berth does not count which lines run: what has much to do would take twice as long."""


def transport() -> str:
    """Return how Envoy calls Berth in these tests."""
    return os.environ.get("BERTH_TEST_TRANSPORT", "http1")


def environment() -> dict[str, str]:
    """Return the environment without what Berth reads: its settings, proxies, and the size of the terminal.

    Berth looks for no sandbox, which takes a tenth of a second, unless a test says that it should.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BERTH_")}
    chosen = {"BERTH_EXEC__DRIVER": "off"}
    if transport() != "http1":  # which some tests set in the configuration
        chosen["BERTH_REST__TRANSPORT"] = transport()
    return {name: value for name, value in kept.items() if name.upper() not in UNWANTED} | chosen


def start(
    folder: Path,
    settings: Mapping[str, object],
    *,
    name: str = "berth",
    data: str = "data",
    inside: Sequence[str] = (),
    options: Sequence[str] = (),
    program: Sequence[str] = (),
) -> Berth:
    """Start `berth up` with its folder `data` and its log in `folder`; return when it is ready.

    A new folder gets an empty database, as with `running_berth`.
    `inside` is a command that prepares something and becomes the one that follows it; `options` are more of `berth up`.
    `program` is one that has the same command, instead of `berth`.
    """
    config, log = folder / f"{name}.yaml", folder / f"{name}.log"
    config.write_text(yaml.safe_dump(dict(settings)))
    if "store" not in settings and not (folder / data).exists():
        (folder / data).mkdir(mode=0o700, parents=True)
        put_empty_database(folder / data / "berth.db")
    arguments = ("--config", str(config), "--data-dir", str(folder / data), "--rest-port", "0", "--grpc-port", "0")
    with log.open("ab") as stderr:
        process = start_berth(
            ["up", "--show-key", *arguments, *options],
            bytes,
            environment=environment(),
            inside=inside,
            program=program,
            folder=folder,
            stderr=stderr.fileno(),
        )
    ready = json.loads(first_line(process, log))
    return Berth(ready["rest"], ready["grpc"], ready.get("virtual_key"), ready.get("metrics"), process, log)


@contextmanager
def running(
    folder: Path,
    settings: Mapping[str, object],
    *,
    data: str = "data",
    inside: Sequence[str] = (),
    options: Sequence[str] = (),
    program: Sequence[str] = (),
) -> Iterator[Berth]:
    """Run `berth up` for as long as the context lasts; see `start`."""
    berth = start(folder, settings, data=data, inside=inside, options=options, program=program)
    try:
        yield berth
    finally:
        if berth.process.poll() is None:
            berth.stop()
        assert berth.process.stdout is not None
        berth.process.stdout.close()


def first_line(process: Process[bytes], log: Path) -> bytes:
    """Return the first line that `process` prints; fail with its log if it ends or takes too long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + START_SECONDS
        while selector.select(deadline - time.monotonic()):
            if line := process.stdout.readline():
                return line
            break
    process.kill()
    process.wait()
    process.stdout.close()
    raise AssertionError(f"berth did not start: {log.read_text()[-4000:]}")
