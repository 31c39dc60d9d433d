"""What Berth adds to retrieving a container that a provider keeps: direct, over gRPC, and over REST through Envoy.

All three ways are measured in turn, several rounds of each: one call after the
other for the latency, and 16 connections at once for the rate.
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

Ask = Callable[[], Awaitable[None]]
Way = Callable[[], Awaitable[tuple[Ask, Callable[[], Awaitable[None]]]]]


def rest_way(address: str, path: str) -> Way:
    """Return how to open a connection over HTTP, which asks, and is closed."""
    where = urlsplit(f"http://{address}")
    question = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()

    async def connect() -> tuple[Ask, Callable[[], Awaitable[None]]]:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)

        async def ask() -> None:
            writer.write(question)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))

        async def close() -> None:
            writer.close()
            await writer.wait_closed()

        return ask, close

    return connect


def grpc_way(address: str, container_id: str) -> Way:
    """Return how to open a channel, which asks, and is closed."""

    async def connect() -> tuple[Ask, Callable[[], Awaitable[None]]]:
        channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        stub = ContainerServiceStub(channel)
        request, metadata = RetrieveContainerRequest(container_id=container_id), (("x-bf-vk", KEY),)

        async def ask() -> None:
            await stub.RetrieveContainer(request, metadata=metadata)

        return ask, channel.close

    return connect


async def median_milliseconds(way: Way) -> float:
    """Return the median latency of calls that follow each other."""
    ask, close = await way()
    latencies = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await ask()
        latencies.append(time.perf_counter() - began)
    await close()
    return statistics.median(latencies) * 1000


async def calls_per_second(way: Way) -> float:
    """Return the rate of 16 connections at once."""
    connections = [await way() for _ in range(CONNECTIONS)]

    async def work(ask: Ask) -> None:
        for _ in range(CALLS):
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(work(ask) for ask, _ in connections))
    seconds = time.perf_counter() - began
    for _, close in connections:
        await close()
    return CONNECTIONS * CALLS / seconds


async def compare(upstream: str, ready: dict[str, str]) -> None:
    """Measure the three ways in turn and print the table."""
    async with grpc.aio.insecure_channel(ready["grpc"]) as channel:
        container = await ContainerServiceStub(channel).CreateContainer(
            CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="bench"), metadata=(("x-bf-vk", KEY),)
        )
    ways = {
        "direct": rest_way(upstream, f"/v1/containers/{container.id}"),
        "Berth, gRPC": grpc_way(ready["grpc"], container.id),
        "Berth, REST": rest_way(urlsplit(ready["rest"]).netloc, f"/v1/containers/{container.id}"),
    }
    latencies: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            latencies[name].append(await median_milliseconds(way))
            rates[name].append(await calls_per_second(way))
    direct = statistics.median(latencies["direct"])
    print(f"{'':14}{'median ms':>10}{'added ms':>10}{'calls/s':>10}")
    for name in ways:
        median = statistics.median(latencies[name])
        print(f"{name:14}{median:>10.2f}{median - direct:>10.2f}{statistics.median(rates[name]):>10.0f}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def main() -> None:
    """Start a provider and a Berth before it, compare, stop both."""
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
