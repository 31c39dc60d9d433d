"""How fast Berth retrieves a file, beside its ceiling, over REST through Envoy and over gRPC.

Both run side by side and are measured in turn, several rounds of each; what
counts is the ratio of the medians. The load comes from this process: where it is
the one that is short of breath, the rates hide a difference, so the processor
time that each answer cost the servers stands beside them.
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
    """Put a small file into a new container; return the request for it."""
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
    """Ask over REST, on connections that stay open."""
    path = f"/v1/containers/{request.container_id}/files/{request.file_id}"
    question = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n".encode()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(target.rest.hostname, target.rest.port)
        for _ in range(CALLS):
            writer.write(question)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))


async def over_grpc(target: Target, request: RetrieveContainerFileRequest, key: str) -> None:
    """Ask over gRPC, straight to the service."""
    metadata = (("authorization", f"Bearer {key}"),)
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        stub = ContainerFileServiceStub(channel)

        async def caller() -> None:
            for _ in range(CALLS):
                await stub.RetrieveContainerFile(request, metadata=metadata)

        await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))


async def measured(target: Target, load: Load) -> dict[str, float]:
    """Return calls per second, and microseconds of processor time per call for each part."""
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
    for name, ask in (("REST", over_rest), ("gRPC", over_grpc)):
        rounds: dict[str, list[dict[str, float]]] = {"berth": [], "ceiling": []}
        for _ in range(ROUNDS):
            for label, target in (("berth", berth), ("ceiling", ceiling)):
                rounds[label].append(await measured(target, partial(ask, target, request, berth.key)))
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
    """Compare both."""
    with side_by_side() as (berth, ceiling):
        asyncio.run(compare(berth, ceiling))


if __name__ == "__main__":
    main()
