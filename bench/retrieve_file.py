"""Measures how fast Berth retrieves a file over REST and gRPC, compared with the server in ceiling.py.

Both servers run at the same time and are measured in turn, in several rounds; the result is the ratio of the medians.
This process generates the load. If it is the bottleneck, the rates hide a difference; therefore the processor time per
call of each server is printed as well.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial

import grpc
from google.api.httpbody_pb2 import HttpBody

from berth.v1.container_file_service_pb2 import CreateContainerFileRequest, RetrieveContainerFileRequest
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from targets import Target, side_by_side

CONNECTIONS = 16
CALLS = 250
"""Per connection and round."""
ROUNDS = 7

Load = Callable[[], Awaitable[None]]


async def make_file(target: Target) -> RetrieveContainerFileRequest:
    """Upload a small file to a new container; return the request that retrieves it."""
    key = (("x-bf-vk", target.key),)
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        container = await ContainerServiceStub(channel).CreateContainer(
            CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="bench"), metadata=key
        )
        upload = CreateContainerFileRequest(
            container_id=container.id, filename="bench.txt", body=HttpBody(data=b"hello")
        )
        file = await ContainerFileServiceStub(channel).CreateContainerFile(iter([upload]), metadata=key)
    return RetrieveContainerFileRequest(container_id=container.id, file_id=file.id)


async def over_rest(target: Target, request: RetrieveContainerFileRequest, key: str) -> None:
    """Send the requests over REST, on persistent connections."""
    path = f"/v1/containers/{request.container_id}/files/{request.file_id}"
    message = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(target.rest.hostname, target.rest.port)
        for _ in range(CALLS):
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


async def over_grpc(target: Target, request: RetrieveContainerFileRequest, key: str) -> None:
    """Send the requests over gRPC, directly to the service."""
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        stub = ContainerFileServiceStub(channel)

        async def caller() -> None:
            for _ in range(CALLS):
                await stub.RetrieveContainerFile(request, metadata=metadata)

        await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))


async def measure(target: Target, load: Load) -> dict[str, float]:
    """Return the calls per second and, for each process, the processor time per call in microseconds."""
    before = {part: target.cpu_seconds(part) for part in target.parts}
    started = time.perf_counter()
    await load()
    seconds, calls = time.perf_counter() - started, CONNECTIONS * CALLS
    costs = {part: (target.cpu_seconds(part) - before[part]) / calls * 1e6 for part in target.parts}
    return {"calls/s": calls / seconds, **costs}


async def compare(berth: Target, ceiling: Target) -> None:
    """Measure both in turn, over REST and over gRPC, and print the table."""
    request = await make_file(berth)
    print(f"{'':8}{'':10}{'calls/s':>10}{'service µs':>12}{'envoy µs':>10}")
    for name, send in (("REST", over_rest), ("gRPC", over_grpc)):
        rounds: dict[str, list[dict[str, float]]] = {"berth": [], "ceiling": []}
        for _ in range(ROUNDS):
            for label, target in (("berth", berth), ("ceiling", ceiling)):
                rounds[label].append(await measure(target, partial(send, target, request, berth.key)))
        medians = {
            label: {figure: statistics.median(r[figure] for r in results) for figure in results[0]}
            for label, results in rounds.items()
        }
        for label, figures in medians.items():
            row = f"{figures['calls/s']:>10.0f}{figures['service']:>12.0f}{figures['envoy']:>10.0f}"
            print(f"{name:8}{label:10}{row}")
        rate = medians["berth"]["calls/s"] / medians["ceiling"]["calls/s"]
        cost = medians["ceiling"]["service"] / medians["berth"]["service"]
        print(f"{name:8}{'ratio':10}{rate:>10.2f}{cost:>12.2f}")


def main() -> None:
    """Compare both servers."""
    with side_by_side() as (berth, ceiling):
        asyncio.run(compare(berth, ceiling))


if __name__ == "__main__":
    main()
