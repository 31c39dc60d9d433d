"""`berth` as people run it: a program with a data folder, two outputs and an exit code."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

from support.measuring.processes import children_of
from support.servers.berth import START_SECONDS, STOP_SECONDS, environment
from support.servers.empty_database import put_empty_database
from support.servers.starting import Process, run_berth, start_berth


class BerthProcess:
    """A `berth` that is ready. `ready` is its line on stdout, `errors` what came on stderr so far."""

    def __init__(self, process: Process[str]) -> None:
        self.process = process
        self.errors = ""
        # Read all the time: a full pipe would stop the program.
        self._reader = threading.Thread(target=self._read_errors)
        self._reader.start()
        line = self._stdout.readline()
        self.ready: dict[str, str] = json.loads(line) if line else {}

    @property
    def _stdout(self) -> Any:
        return self.process.stdout

    def _read_errors(self) -> None:
        for line in cast("Any", self.process.stderr):
            self.errors += line

    def end(self, signal_number: int | None = None) -> int:
        """Send a signal, if any, wait for the end, and return the exit code."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
        code = self.process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        return code

    def rest_of_stdout(self) -> str:
        """Return what stands on stdout behind the first line; only after the end."""
        return cast("str", self._stdout.read())

    def children(self) -> list[int]:
        """Return the ids of the processes that Berth has started and that still run."""
        return children_of(self.process.pid)

    def connect(self) -> HTTPConnection:
        """Return a connection to REST."""
        return HTTPConnection(self.ready["rest"].removeprefix("http://"), timeout=STOP_SECONDS)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Make a call over REST with the first key; return the status and the JSON."""
        with contextlib.closing(self.connect()) as connection:
            content = None if body is None else json.dumps(body)
            typed = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, content, {**self.authorization(), **typed, **headers})
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def authorization(self) -> dict[str, str]:
        """Return the header that the first key makes."""
        return {"Authorization": f"Bearer {self.ready['virtual_key']}"} if "virtual_key" in self.ready else {}


@contextlib.contextmanager
def running_berth(
    name: str,
    folder: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    show_key: bool = True,
    inside: Sequence[str] = (),
    program: Sequence[str] = (),
    migrates: bool = False,
) -> Iterator[BerthProcess]:
    """Start `berth name` on free ports with its data in `folder`, and end it afterwards whatever happens.

    A new folder gets an empty database, unless Berth `migrates` one itself, as it does for users. `inside` and
    `program` are as for `support.servers.berth.start`.
    """
    if not (migrates or folder.exists()):
        folder.mkdir(mode=0o700, parents=True)
        put_empty_database(folder / "berth.db")
    shown = ("--show-key",) if show_key else ()
    with start_berth(
        [name, "--data-dir", str(folder), *free_ports(name), *shown, *options],
        str,
        environment={**environment(), **(environ or {})},
        inside=inside,
        program=program,
    ) as process:
        berth = BerthProcess(process)
        try:
            yield berth
        finally:
            process.kill()
            berth.end()


def free_ports(name: str) -> list[str]:
    """Return the options that let the system pick the ports."""
    return ["--grpc-port", "0", *(["--rest-port", "0"] if name == "up" else [])]


def refused_berth(*arguments: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a `berth` that ends by itself; return exit code, stdout and stderr."""
    return run_berth(arguments, environment={**environment(), **(environ or {})}, seconds=START_SECONDS)
