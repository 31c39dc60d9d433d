"""Measures the latency that Berth adds to retrieving a passthrough container.

Three paths are compared: directly from the provider, through Berth over gRPC, and through Berth over REST with Envoy.
They are measured in turn, in several rounds: sequential calls for the latency, 16 concurrent connections for the rate.
"""

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from berth.v1.container_service_pb2 import CreateContainerRequest, RetrieveContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider

CONNECTIONS = 16
CALLS = 200
"""Per connection and round."""
ROUNDS = 5
KEY = "sk-bf-bench"

Call = Callable[[], Awaitable[None]]
Connect = Callable[[], Awaitable[tuple[Call, Callable[[], Awaitable[None]]]]]


def rest_connect(address: str, path: str) -> Connect:
    """Return a function that opens an HTTP connection and returns functions to send a request and to close it."""
    where = urlsplit(f"http://{address}")
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()

    async def connect() -> tuple[Call, Callable[[], Awaitable[None]]]:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)

        async def call() -> None:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))

        async def close() -> None:
            writer.close()
            await writer.wait_closed()

        return call, close

    return connect


def grpc_connect(address: str, container_id: str) -> Connect:
    """Return a function that opens a gRPC channel and returns functions to send a request and to close it."""

    async def connect() -> tuple[Call, Callable[[], Awaitable[None]]]:
        channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        stub = ContainerServiceStub(channel)
        request, metadata = RetrieveContainerRequest(container_id=container_id), (("x-bf-vk", KEY),)

        async def call() -> None:
            await stub.RetrieveContainer(request, metadata=metadata)

        return call, channel.close

    return connect


async def median_milliseconds(connect_to: Connect) -> float:
    """Return the median latency of sequential calls."""
    call, close = await connect_to()
    latencies = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        latencies.append(time.perf_counter() - began)
    await close()
    return statistics.median(latencies) * 1000


async def calls_per_second(connect_to: Connect) -> float:
    """Return the rate of CONNECTIONS concurrent connections."""
    connections = [await connect_to() for _ in range(CONNECTIONS)]

    async def work(call: Call) -> None:
        for _ in range(CALLS):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(work(call) for call, _ in connections))
    seconds = time.perf_counter() - began
    for _, close in connections:
        await close()
    return CONNECTIONS * CALLS / seconds


async def compare(upstream: str, ready: dict[str, str]) -> None:
    """Measure the three paths in turn and print the table."""
    async with grpc.aio.insecure_channel(ready["grpc"]) as channel:
        container = await ContainerServiceStub(channel).CreateContainer(
            CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="bench"), metadata=(("x-bf-vk", KEY),)
        )
    paths = {
        "direct": rest_connect(upstream, f"/v1/containers/{container.id}"),
        "Berth, gRPC": grpc_connect(ready["grpc"], container.id),
        "Berth, REST": rest_connect(urlsplit(ready["rest"]).netloc, f"/v1/containers/{container.id}"),
    }
    latencies: dict[str, list[float]] = {name: [] for name in paths}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(ROUNDS):
        for name, connect_to in paths.items():
            latencies[name].append(await median_milliseconds(connect_to))
            rates[name].append(await calls_per_second(connect_to))
    direct = statistics.median(latencies["direct"])
    print(f"{'':14}{'median ms':>10}{'added ms':>10}{'calls/s':>10}")
    for name in paths:
        median = statistics.median(latencies[name])
        print(f"{name:14}{median:>10.2f}{median - direct:>10.2f}{statistics.median(rates[name]):>10.0f}")


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def main() -> None:
    """Start a provider and a Berth in front of it, compare, and stop both."""
    upstream = f"127.0.0.1:{free_port()}"
    settings = {
        "providers": {
            "openai": {
                "backend": "openai",
                "base_url": f"http://{upstream}/v1",
                "keys": [{"name": "main", "value": "sk-upstream"}],
            }
        },
        "auth": {"virtual_keys": [{"name": "bench", "value": KEY, "tenant": "bench"}]},
    }
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        config = Path(folder) / "berth.yaml"
        config.write_text(json.dumps(settings))
        provider = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("upstream.py")), upstream.rpartition(":")[2]], stderr=log
        )
        options = ("--config", str(config), "--data-dir", f"{folder}/data", "--rest-port", "0", "--grpc-port", "0")
        berth = subprocess.Popen([sys.executable, "-m", "berth", "up", *options], stdout=subprocess.PIPE, stderr=log)
        try:
            assert berth.stdout is not None
            asyncio.run(compare(upstream, json.loads(berth.stdout.readline())))
        finally:
            for process in (berth, provider):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    main()
