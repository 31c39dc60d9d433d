"""Makes a load with a compiled program that is on PATH: h2load for REST, ghz for gRPC."""

import json
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from loads import Load, Took


def run(load: Load) -> Took | None:
    """Make a load; None if no program on PATH can make it."""
    name, make = {"rest": ("h2load", h2load), "grpc": ("ghz", ghz)}.get(load.door, ("", None))
    if make is None or load.ids or load.calls or load.pause_seconds or not shutil.which(name):
        return None
    took = make(load)
    return took and replace(took, generator=name)


def h2load(load: Load) -> Took:
    """Make a load over HTTP/1.1 with h2load, which writes the time of each request to a file."""
    with tempfile.TemporaryDirectory() as name:
        body, times = Path(name) / "body", Path(name) / "times"
        body.write_text(load.body)
        sent = ["-H", f"authorization: Bearer {load.key}"]
        if load.body:
            sent += ["-d", str(body), "-H", f"content-type: {load.content_type}"]
        length = [
            "-D",
            f"{load.seconds * 1000:.0f}ms",
            "-c",
            str(load.connections),
            "-t",
            "1",
            "--log-file",
            str(times),
        ]
        _output(["h2load", "--h1", *length, *sent, f"http://{load.address}{load.path}"])
        lines = [line.split("\t") for line in times.read_text().splitlines()]
    if any(status != "200" for _, status, _ in lines):
        raise RuntimeError(f"{load.path}: {[line for line in lines if line[1] != '200'][:3]}")
    return Took.of([int(microseconds) / 1e6 for _, _, microseconds in lines], load.seconds, [])


def ghz(load: Load) -> Took | None:
    """Make a load with ghz, which sends the same message in all calls."""
    service, _, name = load.method.rpartition(".")
    method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    if method.client_streaming or method.server_streaming:
        return None
    with tempfile.NamedTemporaryFile() as protos:
        protos.write(_descriptors(method.containing_service.file).SerializeToString())
        protos.flush()
        told = ["--protoset", protos.name, "--call", f"{service}.{name}", "-d", load.body]
        length = ["-c", str(load.connections), "-z", f"{load.seconds}s", "--duration-stop", "wait"]
        metadata = ["-m", json.dumps({"authorization": f"Bearer {load.key}"})]
        done = json.loads(_output(["ghz", "--insecure", *told, *length, *metadata, "-O", "json", load.address]))
    if set(done["statusCodeDistribution"]) != {"OK"}:
        raise RuntimeError(f"{load.method}: {done['errorDistribution']}")
    latencies = {one["percentage"]: one["latency"] / 1e6 for one in done["latencyDistribution"]}
    return Took(done["count"], done["total"] / 1e9, latencies[50], latencies[99])


def _descriptors(file: FileDescriptor) -> FileDescriptorSet:
    """Return the descriptors of a file and of all that it imports, each after its own imports."""
    found: dict[str, FileDescriptor] = {}

    def add(one: FileDescriptor) -> None:
        for imported in one.dependencies:
            add(imported)
        found[one.name] = one

    add(file)
    files = FileDescriptorSet()
    for one in found.values():
        one.CopyToProto(files.file.add())
    return files


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
