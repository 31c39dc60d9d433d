"""The loads that rows make, and the process that makes them (generator.py), seen from the benchmark."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path


@dataclass(frozen=True)
class Load:
    """What to send. It ends with the last of `ids`, else after `calls` on each connection, else after `seconds`."""

    door: str
    """"rest", "grpc", "upload", "form" or "download"."""
    address: str
    key: str
    method: str = ""
    """Of HTTP, or the full name of one of gRPC."""
    path: str = ""
    body: str = ""
    """Of REST, or the message of gRPC as JSON. `$id` in it, or in the path, is replaced by one of `ids` in turn."""
    connections: int = 16
    seconds: float = 1.0
    calls: int = 0
    ids: list[str] = field(default_factory=list)
    size: int = 0
    """Of an upload or a download, in bytes."""
    pause_seconds: float = 0.0

    @property
    def content_type(self) -> str:
        """Return the media type of `body`."""
        return "application/json" if self.body.startswith("{") else "application/octet-stream"

    def turns(self) -> Iterator[str]:
        """Yield the id of each call, an empty one where there are none; all connections take from one iterator."""
        if self.ids or self.calls:
            yield from self.ids or repeat("", self.calls * self.connections)
            return
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            yield ""


@dataclass
class Took:
    """What a load came to: latencies are in milliseconds; `ids` are those of created resources."""

    calls: int
    seconds: float
    p50: float
    p99: float
    latencies: list[float] = field(default_factory=list)
    """In order; of asyncio and h2load alone."""
    ids: list[str] = field(default_factory=list)
    generator: str = "asyncio"
    busy: float = 0.0
    """How much of a core the generator used, up to 1 unless it runs on several."""

    @staticmethod
    def of(latencies: list[float], seconds: float, ids: list[str]) -> "Took":
        """Return what these latencies in seconds come to."""
        if not latencies:
            raise RuntimeError("No call was answered in time.")
        ordered = sorted(latency * 1000 for latency in latencies)
        p99 = ordered[int(len(ordered) * 0.99)]
        return Took(len(ordered), seconds, statistics.median(ordered), p99, ordered, ids)


class Generator:
    """The process that makes the load."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("generator.py"))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.names: set[str] = set()

    def run(self, *loads: Load) -> list[Took]:
        """Run loads at the same time. RuntimeError with the answer to a call that failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([asdict(load) for load in loads]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        took = [Took(**one) for one in answer["took"]]
        self.names |= {one.generator for one in took}
        return took

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
