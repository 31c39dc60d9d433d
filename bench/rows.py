"""What is measured: each row is one thing, measured on several subjects that are compared."""

import json
import os
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from string import Template

from loads import Generator, Load, Took
from servers import (
    BERTH,
    EARLIER,
    EMPTY,
    FASTAPI,
    KEY,
    LITELLM,
    MEBIBYTE,
    OTHER,
    OVER_GRPC,
    POSTGRES,
    PROVIDER,
    TRACED,
    WORKERS,
    Server,
    Servers,
)

Figures = Mapping[str, float]
HOSTED, PASSED = "hosted", "passed through"
PROVIDERS = {HOSTED: "ollama", PASSED: "openai"}
TOGETHER = {
    "one worker": (BERTH,),
    "two workers": (WORKERS, WORKERS),
    "two Berths of one worker": (BERTH, OTHER),
}
"""Subjects that are not one server: each gets the load as often as it is named."""
CREATED = 320
"""How many resources a row of a delete creates before it is measured."""
SLOWER = 5
"""How many times longer a proxy is measured that answers few calls in a second."""
FILES_PATH = "/v1/files"
PRINT, COMMANDS = "print(1)", 16
COLD, WARM, AT_ONCE = "Berth, cold", "Berth, in a session", "Berth, all at once"
PLAIN, BARE = "plain python3", "plain python3 -S"
SESSION = {"code": {"language": "python", "source": PRINT, "session": "bench"}}
EXEC = "berth.v1.ContainerExecService.CreateContainerExec"


@dataclass
class Bench:
    """What rows measure with."""

    servers: Servers
    generator: Generator
    seconds: float
    """How long a load of calls lasts."""
    warm: set[tuple[str, str]] = field(default_factory=set)
    """The rows and subjects that have been called."""


class Row(ABC):
    """One thing that is measured on several subjects; the first of them is what the others are compared with."""

    name: str
    subjects: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    """The figures that the picture shows, as parts of one bar."""
    most_rounds = 1000

    @abstractmethod
    def measure(self, bench: Bench, subject: str) -> Figures:
        """Measure a subject once. NotInstalledError if it is not here."""


_FILES, _FILE = "/v1/containers/$container_id/files", "/v1/containers/$container_id/files/$file_id"
OPERATIONS = {
    "create container": ("POST", "/v1/containers", "ContainerService.CreateContainer"),
    "list containers": ("GET", "/v1/containers?provider=$provider", "ContainerService.ListContainers"),
    "retrieve container": ("GET", "/v1/containers/$container_id", "ContainerService.RetrieveContainer"),
    "delete container": ("DELETE", "/v1/containers/$container_id", "ContainerService.DeleteContainer"),
    "create file": ("POST", f"{_FILES}?filename=a", "ContainerFileService.CreateContainerFile"),
    "list files": ("GET", _FILES, "ContainerFileService.ListContainerFiles"),
    "retrieve file": ("GET", _FILE, "ContainerFileService.RetrieveContainerFile"),
    "retrieve content": ("GET", f"{_FILE}/content", "ContainerFileService.RetrieveContainerFileContent"),
    "delete file": ("DELETE", _FILE, "ContainerFileService.DeleteContainerFile"),
}
"""Method and path over REST, and the name over gRPC, where the message has what is filled into the path."""
NEW: Mapping[str, Mapping[str, object]] = {
    "create container": {"name": "bench", "provider": ""},
    "create file": {"filename": "a", "body": {"data": "aGVsbG8="}},
}
"""What else the message has; the provider is filled in."""


def load_of(server: Server, name: str, kept: str, door: str = "rest") -> Load:
    """Return the load of an operation on a server; a delete is given ids."""
    method, path, rpc = OPERATIONS[name]
    values = {"provider": PROVIDERS[kept], **server.known.get(kept, {})}
    if method == "DELETE":
        values[f"{name.partition(' ')[2]}_id"] = "$id"
    if door == "grpc":
        filled = {field: value for field, value in values.items() if f"${field}" in path}
        message = {**filled, **NEW.get(name, {})}
        if "provider" in message:
            message["provider"] = f"PROVIDER_{PROVIDERS[kept].upper()}"
        return Load(door, server.grpc, KEY, f"berth.v1.{rpc}", body=json.dumps(message))
    bodies = {"create container": json.dumps({"provider": PROVIDERS[kept], "name": "bench"}), "create file": "hello"}
    return Load(door, server.rest, KEY, method, Template(path).substitute(values), bodies.get(name, ""))


def prepare(bench: Bench, server: Server, kept: str, *, is_ours: bool) -> None:
    """Create what operations work on; other servers than Berth are asked for ids that they do not know."""
    if kept in server.known:
        return
    known = server.known[kept] = {"container_id": f"cntr_{'0' * 48}", "file_id": f"cfile_{'0' * 48}"}
    for kind in ("container", "file") if is_ours else ():
        load = replace(load_of(server, f"create {kind}", kept), connections=1, calls=1)
        (known[f"{kind}_id"],) = bench.generator.run(load)[0].ids


@dataclass(frozen=True)
class Calls(Row):
    """Calls of one operation, on connections that are kept."""

    operation: str
    kept: str
    door: str
    subjects: tuple[str, ...]
    connections: int = 16
    drawn: tuple[str, ...] = ("service µs", "Envoy µs")
    label: str = ""
    pause_seconds: float = 0.0
    """Of each connection after each call, so that no core is fully used."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Return its name."""
        if self.label:
            return self.label
        at_once = (
            f"{self.connections} {'caller' if self.door == 'grpc' else 'connection'}{'s' * (self.connections > 1)}"
        )
        return f"{self.operation}, {self.kept}, {'gRPC' if self.door == 'grpc' else 'REST'}, {at_once}"

    def measure(self, bench: Bench, subject: str) -> Figures:
        """Call for some time; return rate, latency, and processor time per call."""
        servers = [bench.servers.get(name) for name in TOGETHER.get(subject, (subject,))]
        loads = [self._load(bench, server, subject) for server in servers]
        before = _used(servers)
        took = bench.generator.run(*loads)
        calls = sum(one.calls for one in took)
        costs = {f"{part} µs": (used - before[part]) / calls * 1e6 for part, used in _used(servers).items()}
        return {**_rate(took), **costs, "both µs": sum(costs.values()), "generator %": took[0].busy * 100}

    def _load(self, bench: Bench, server: Server, subject: str) -> Load:
        prepare(bench, server, self.kept, is_ours=subject not in {EMPTY, PROVIDER, FASTAPI, LITELLM})
        load = replace(
            load_of(server, self.operation, self.kept, self.door),
            connections=self.connections,
            pause_seconds=self.pause_seconds,
        )
        if not self.operation.startswith("delete"):
            if (self.name, subject) not in bench.warm:
                bench.warm.add((self.name, subject))
                bench.generator.run(replace(load, calls=2))
            return replace(load, seconds=bench.seconds * (SLOWER if subject == LITELLM else 1))
        create = load_of(server, self.operation.replace("delete", "create"), self.kept)
        return replace(load, ids=bench.generator.run(replace(create, calls=CREATED // create.connections))[0].ids)


def _rate(took: list[Took]) -> Figures:
    rate = sum(one.calls for one in took) / max(one.seconds for one in took)
    return {"calls/s": rate, "p50 ms": statistics.mean(one.p50 for one in took)}


def _used(servers: list[Server]) -> dict[str, float]:
    """Return the processor time of each part of some servers; a server that is named twice counts once."""
    return {part: sum(server.cpu_seconds(part) for server in set(servers)) for part in ("service", "Envoy")}


@dataclass(frozen=True)
class Transfer(Row):
    """Uploads or downloads of 64 MiB."""

    door: str
    subjects: tuple[str, ...]
    connections: int = 1
    drawn: tuple[str, ...] = ("MiB/s",)

    @property
    def name(self) -> str:  # type: ignore[override]
        """Return its name."""
        kind = {"upload": "upload as bytes", "form": "upload as a form", "download": "download"}[self.door]
        return f"{kind}, {self.connections} of 64 MiB at once"

    def measure(self, bench: Bench, subject: str) -> Figures:
        """Move the files; return the rate, the processor time and the memory that it took."""
        server = bench.servers.get(subject)
        path = f"{FILES_PATH}?provider=ollama&purpose=user_data"
        load = Load("upload", server.rest, KEY, path=path, size=64 * MEBIBYTE, connections=1)
        (made,) = bench.generator.run(load)[0].ids if self.door == "download" else ("",)
        if made:
            load = replace(load, door="download", path=f"{FILES_PATH}/{made}/content")
        before, rest = _used([server]), server.forget_peak()
        took = bench.generator.run(replace(load, door=self.door, connections=self.connections))[0]
        moved, peak, after = 64 * self.connections, server.peak(), _used([server])
        if subject != EMPTY:
            delete = Load("rest", server.rest, KEY, "DELETE", f"{FILES_PATH}/$id", connections=1)
            bench.generator.run(replace(delete, ids=[made] if made else took.ids))
        return {
            "MiB/s": moved / took.seconds,
            **{f"{part} ms/MiB": (after[part] - before[part]) / moved * 1000 for part in after},
            "peak MiB": peak,
            "above rest MiB": peak - rest,
            "generator %": took.busy * 100,
        }


@dataclass(frozen=True)
class Command(Row):
    """A command over gRPC that prints a number: in a sandbox each, one after another or at once, or in a session."""

    name: str = f"python3 -c '{PRINT}'"
    subjects: tuple[str, ...] = (COLD, WARM, AT_ONCE, PLAIN, BARE)
    drawn: tuple[str, ...] = ("p50 ms",)

    def measure(self, bench: Bench, subject: str) -> Figures:
        """Run it 16 times."""
        if subject in {PLAIN, BARE}:
            # A sandbox has none of the packages of the host, which a Python outside looks for unless it has -S.
            options = ["-S"] if subject == BARE else []
            latencies = sorted(_plain_milliseconds(options) for _ in range(COMMANDS))
        else:
            latencies = _run_commands(bench, subject)
        return {"p50 ms": statistics.median(latencies), "fastest ms": latencies[0], "slowest ms": latencies[-1]}


def _run_commands(bench: Bench, subject: str) -> list[float]:
    """Run commands in one container, or at once in as many; return how long each took, in order."""
    server, at_once = bench.servers.get(BERTH), COMMANDS if subject == AT_ONCE else 1
    create = replace(load_of(server, "create container", HOSTED), connections=1, calls=at_once)
    containers = bench.generator.run(create)[0].ids
    command = SESSION if subject == WARM else {"argv": ["python3", "-c", PRINT]}
    body = json.dumps({"container_id": "$id", **command})
    load = Load("grpc", server.grpc, KEY, EXEC, body=body, connections=at_once)
    if subject == WARM:
        bench.generator.run(replace(load, ids=containers))  # makes the session
    took = bench.generator.run(replace(load, ids=containers * (COMMANDS // at_once)))[0]
    bench.generator.run(replace(load_of(server, "delete container", HOSTED), ids=containers))
    return took.latencies


def _plain_milliseconds(options: list[str]) -> float:
    """Return how long the command takes in the Python that commands have by default, without Berth."""
    python, began = os.path.realpath(sys.executable), time.perf_counter()
    subprocess.run([python, *options, "-c", PRINT], check=True, capture_output=True, env={})
    return (time.perf_counter() - began) * 1000


@dataclass(frozen=True)
class Start(Row):
    """The start of a Berth with a new database, and its memory after it."""

    name: str = "start, and memory at rest"
    subjects: tuple[str, ...] = (BERTH, EARLIER)
    drawn: tuple[str, ...] = ("ready after s",)
    most_rounds: int = 3

    def measure(self, bench: Bench, subject: str) -> Figures:
        """Start one and stop it."""
        bench.servers.get(PROVIDER)
        began = time.perf_counter()
        server = bench.servers.start(subject)
        seconds = time.perf_counter() - began
        memory = {f"{part} MiB": server.memory(part) for part in server.parts}
        server.stop()
        return {"ready after s": seconds, **memory}


def core() -> list[Row]:
    """Return the rows that tell in five minutes where Berth is."""
    rest, direct = (BERTH, OVER_GRPC, EARLIER), (BERTH, EARLIER)
    one, at_most, rate = (1, ("p50 ms",)), 256, ("calls/s",)
    return [
        Calls("retrieve file", HOSTED, "rest", (*rest, EMPTY)),
        Calls("retrieve file", HOSTED, "rest", (*direct, EMPTY), *one),
        Calls("retrieve file", HOSTED, "rest", (BERTH, EMPTY), 64, rate),
        Calls("retrieve file", HOSTED, "rest", (BERTH, EMPTY), at_most, rate),
        Calls("retrieve file", HOSTED, "grpc", (*direct, EMPTY)),
        Calls("create container", HOSTED, "rest", direct),
        Calls("retrieve container", PASSED, "rest", (*rest, PROVIDER)),
        Calls("retrieve container", PASSED, "rest", (*direct, PROVIDER), *one),
        Calls("retrieve container", PASSED, "grpc", direct),
        Calls("create container", PASSED, "rest", (*direct, PROVIDER)),
        *(Transfer(door, (BERTH, EARLIER, EMPTY)) for door in ("upload", "form", "download")),
        Command(),
        Start(),
    ]


def full() -> list[Row]:
    """Return what the full set has in place of rows of the core set with the same names, and beside them."""
    kinds = product(OPERATIONS, (HOSTED, PASSED), ("rest", "grpc"))
    return [
        *(Calls(*kind, _subjects(*kind)) for kind in kinds),
        Calls("retrieve file", HOSTED, "rest", tuple(TOGETHER), label="one or two workers, busy"),
        Calls(
            "retrieve file", HOSTED, "rest", tuple(TOGETHER), label="one or two workers, half busy", pause_seconds=0.05
        ),
        Calls("retrieve file", HOSTED, "rest", (BERTH, OTHER, TRACED), label="retrieve file, with and without traces"),
        *(Transfer(door, (BERTH, OVER_GRPC, EARLIER, EMPTY), 16) for door in ("upload", "form", "download")),
    ]


def _subjects(operation: str, kept: str, door: str) -> tuple[str, ...]:
    """Return all subjects that can do an operation."""
    found = [BERTH, EARLIER]
    if door == "rest":
        found += [OVER_GRPC] if kept == HOSTED else [OVER_GRPC, PROVIDER]
    if kept == HOSTED:
        found += [POSTGRES, EMPTY] if operation == "retrieve file" else [POSTGRES]
    elif (operation, door) == ("retrieve container", "rest"):
        found += [FASTAPI, LITELLM]
    return tuple(found)
