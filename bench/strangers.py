"""Measures how much unauthenticated clients slow down authenticated reads, and the memory that they cost.

In a separate process, 100 clients each send 14 MiB of an unfinished body and keep the connection until it is closed;
they return after ten seconds. 20 more send 15 MB of a single token, repeatedly. Meanwhile one client with a key reads.
The result is the ratio of its p99 latency with and without the unauthenticated clients.
"""

import asyncio
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path

from targets import Target, berth

QUIET_SECONDS, BUSY_SECONDS = 10.0, 20.0
PAUSE_SECONDS = 0.005
HOLDING, REPEATING = 100, 20
RETURN_SECONDS, REPEAT_SECONDS = 10.0, 0.2
HELD_BYTES, TOKEN_BYTES = 14 * 1024 * 1024, 15_000_000
MEBIBYTE = 1024


async def reads(target: Target, seconds: float) -> list[float]:
    """Read a list repeatedly for `seconds`; return the latency of each read, in milliseconds."""
    request = f"GET /v1/containers?limit=1 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {target.key}\r\n\r\n"
    latencies, end = [], time.perf_counter() + seconds
    reader, writer = await asyncio.open_connection(target.rest.hostname, target.rest.port)
    while time.perf_counter() < end:
        started = time.perf_counter()
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        latencies.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(PAUSE_SECONDS)
    writer.close()
    return latencies


def memory(target: Target) -> float:
    """Return the proportional set size of the service and Envoy together, in MiB."""
    kibibytes = 0
    for pid in target.parts.values():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kibibytes += int(rollup.partition("\nPss:")[2].split()[0])
    return kibibytes / MEBIBYTE


async def highest_memory(target: Target, highest: list[float]) -> None:
    """Keep the highest memory use in `highest` until cancelled."""
    while True:
        highest[0] = max(highest[0], memory(target))
        await asyncio.sleep(0.25)


async def measure(target: Target) -> None:
    """Measure reads without and with the unauthenticated clients, and print both."""
    quiet, before = await reads(target, QUIET_SECONDS), memory(target)
    where = (str(target.rest.hostname), str(target.rest.port))
    attackers = await asyncio.create_subprocess_exec(sys.executable, __file__, *where)
    highest = [before]
    watching = asyncio.create_task(highest_memory(target, highest))
    try:
        await asyncio.sleep(2)
        busy = await reads(target, BUSY_SECONDS)
    finally:
        watching.cancel()
        attackers.kill()
        await attackers.wait()
    for name, times in (("alone", quiet), ("under attack", busy)):
        print(f"{name:18}p50 {statistics.median(times):6.2f} ms   p99 {p99(times):6.2f} ms   {len(times)} reads")
    print(f"{'ratio of p99':18}{p99(busy) / p99(quiet):.1f}")
    print(f"{'memory':18}{before:.0f} MiB, at most {highest[0]:.0f} under attack (+{highest[0] - before:.0f})")


def p99(latencies: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(latencies)[int(len(latencies) * 0.99)]


async def send_unfinished_bodies(host: str, port: int, size: int, pause_seconds: float) -> None:
    """Repeatedly send an unfinished body, one long token, without a key; pause after each connection."""
    head = (
        f"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(head.encode() + b'{"name": "')
            for _ in range(size // 65_536):
                writer.write(b"x" * 65_536)
                await writer.drain()
            await reader.read()
        await asyncio.sleep(pause_seconds)


async def attack(host: str, port: int) -> None:
    """Run all unauthenticated clients."""
    holding, repeating = (HELD_BYTES, RETURN_SECONDS), (TOKEN_BYTES, REPEAT_SECONDS)
    await asyncio.gather(
        *(send_unfinished_bodies(host, port, *kind) for kind in [holding] * HOLDING + [repeating] * REPEATING)
    )


def main() -> None:
    """Measure; with a host and a port as arguments, run the unauthenticated clients instead."""
    if len(sys.argv) > 1:
        asyncio.run(attack(sys.argv[1], int(sys.argv[2])))
    with berth() as target:
        asyncio.run(measure(target))


if __name__ == "__main__":
    main()
