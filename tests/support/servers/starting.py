"""Starts `berth` as a process that has its modules loaded already; see `preloading.py`."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import IO, Generic, TypeAlias, TypeVar

Text = TypeVar("Text", bytes, str)
_READ_WHEN_LOADING = ("PYTHON", "COVERAGE_", "GRPC_", "LD_", "TZ")
"""How the names of variables begin that Python or a module reads before Berth runs."""
_NUMBER_SIZE = 32


class Preloaded(Generic[Text]):
    """A Berth with these arguments, with the part of `subprocess.Popen` that tests use.

    It reads nothing. Its stdout is a pipe, and so is its stderr unless a descriptor is given.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        kind: type[Text],
        *,
        environment: Mapping[str, str],
        folder: Path | None = None,
        stderr: int | None = None,
    ) -> None:
        self.args: Sequence[str] = arguments
        self.returncode: int | None = None
        self._lock: Lock = Lock()
        mode = "r" if kind is str else "rb"
        (output, own_output), (errors, own_errors) = os.pipe(), os.pipe() if stderr is None else (None, os.dup(stderr))
        self.stdout: IO[Text] | None = os.fdopen(output, mode)
        self.stderr: IO[Text] | None = None if errors is None else os.fdopen(errors, mode)
        channel, told = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._channel: int = channel.detach()
        weakref.finalize(self, os.close, self._channel)
        order = {"arguments": arguments, "environment": environment, "folder": str(folder or Path.cwd())}
        streams: tuple[int, ...] = (os.open(os.devnull, os.O_RDONLY), own_output, own_errors)
        with told:
            socket.send_fds(_orders(), [json.dumps(order).encode()], (*streams, told.fileno()))
        for descriptor in streams:
            os.close(descriptor)
        self.pid: int = int(os.read(self._channel, _NUMBER_SIZE))

    def __enter__(self) -> "Preloaded[Text]":
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, None if the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once the process has ended."""
        if self.returncode is None and not select.select([self._channel], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        with self._lock:
            if self.returncode is None:
                self.returncode = int(os.read(self._channel, _NUMBER_SIZE))
            return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[Text, Text]:
        """Return all that the process has printed on both pipes once it has ended; kill it if that takes too long."""
        assert self.stdout is not None
        assert self.stderr is not None
        with ThreadPoolExecutor(2) as readers:
            output, errors = (readers.submit(stream.read) for stream in (self.stdout, self.stderr))
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return output.result(), errors.result()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once."""
        self.send_signal(signal.SIGKILL)


Process: TypeAlias = subprocess.Popen[Text] | Preloaded[Text]


def start_berth(
    arguments: Sequence[str],
    kind: type[Text],
    *,
    environment: Mapping[str, str],
    inside: Sequence[str] = (),
    program: Sequence[str] = (),
    folder: Path | None = None,
    stderr: int | None = None,
) -> Process[Text]:
    """Start a Berth, with its modules loaded if nothing that was asked for can change how they are loaded.

    `inside` and `program` are as for `support.servers.berth.start`; the others as for Preloaded.
    """
    if not (inside or program or "COVERAGE_PROCESS_CONFIG" in environment or _loads_otherwise(environment)):
        return Preloaded(arguments, kind, environment=environment, folder=folder, stderr=stderr)
    return subprocess.Popen(
        [*inside, *(program or command()), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if stderr is None else stderr,
        text=kind is str,
        env=environment,
        cwd=folder,
    )


def run_berth(
    arguments: Sequence[str], *, environment: Mapping[str, str], seconds: float, folder: Path | None = None
) -> tuple[int, str, str]:
    """Run a `berth` that ends by itself; return its exit code, stdout and stderr."""
    with start_berth(arguments, str, environment=environment, folder=folder) as process:
        output, errors = process.communicate(timeout=seconds)
    return process.wait(), output, errors


def command(*arguments: str) -> list[str]:
    """Return the command line of `berth` with `arguments`."""
    return [sys.executable, "-m", "berth", *arguments]


def _loads_otherwise(environment: Mapping[str, str]) -> bool:
    return _read_when_loading(environment) != _read_when_loading(os.environ)


def _read_when_loading(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_WHEN_LOADING)}


@cache
def _orders() -> socket.socket:
    """Return the socket for the orders of a process, which lives as long as this one."""
    own, its = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with its:
        program = [sys.executable, "-P", str(Path(__file__).with_name("preloading.py")), str(its.fileno())]
        process = subprocess.Popen(program, pass_fds=[its.fileno()], stdout=subprocess.DEVNULL)
    atexit.register(_end, own, process)
    return own


def _end(orders: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    orders.close()
    process.wait()
