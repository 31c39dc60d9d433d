"""`berth files` and `berth containers` as people type them, against a running server."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import grpc
from google.api.httpbody_pb2 import HttpBody

from berth.v1.file_service_pb2_grpc import FileServiceServicer, add_FileServiceServicer_to_server
from support.servers.berth import START_SECONDS, environment
from support.servers.starting import command, run_berth


@dataclass(frozen=True)
class Shell:
    """A working directory, and variables that say where the server is and which key it gets."""

    folder: Path
    variables: Mapping[str, str]

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command; its outputs are pipes unless `options` say otherwise."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command(*arguments), cwd=self.folder, env=self._environment(), **pipes | options)

    def run(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Run a command; return its exit code, stdout and stderr."""
        if stdin is None:
            code, output, errors = run_berth(
                arguments, environment=self._environment(), seconds=START_SECONDS, folder=self.folder
            )
        else:
            with self.start(*arguments, stdin=subprocess.PIPE) as process:
                output, errors = (text.decode() for text in process.communicate(stdin, START_SECONDS))
            code = process.returncode
        assert "Traceback" not in errors
        return code, output, errors

    def _environment(self) -> dict[str, str]:
        return {**environment(), **self.variables}

    def ask(self, *arguments: str, stdin: bytes | None = None) -> str:
        """Run a command that must succeed and have nothing to remark; return what it prints."""
        status, output, errors = self.run(*arguments, stdin=stdin)
        assert (status, errors) == (0, "")
        return output

    def files(self) -> list[str]:
        """Return the names of all files in the working directory, hidden ones too."""
        return sorted(path.name for path in self.folder.iterdir() if path.is_file())


@dataclass
class Sender(FileServiceServicer):
    """A server that says of a file what it is told to; with `holds` it sends a beginning and nothing more."""

    content: bytes = b"hello"
    headers: Mapping[str, str] = field(default_factory=dict)
    holds: bool = False
    address: str = ""
    released: Event = field(default_factory=Event)

    def RetrieveFileContent(self, request: Any, context: Any) -> Iterator[HttpBody]:  # noqa: ARG002, N802 - grpc's
        """Send the headers, and then the bytes."""
        context.send_initial_metadata(tuple(self.headers.items()))
        yield HttpBody(data=self.content)
        if self.holds:
            self.released.wait()


@contextmanager
def sending(**what: Any) -> Iterator[Sender]:
    """Run a Sender on a port that the system chooses."""
    sender = Sender(**what)  # type: ignore[abstract] # its other operations stay unimplemented
    server = grpc.server(ThreadPoolExecutor(2))
    add_FileServiceServicer_to_server(sender, server)
    sender.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sender
    finally:
        stopped = server.stop(None)
        sender.released.set()
        stopped.wait()


def until(claim: Callable[[], object]) -> None:
    """Wait until something is so; an assertion fails if it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
