"""How much callers without a key disturb others: their reads, and the memory of service and Envoy.

A hundred clients send 14 MiB of an unfinished body each and stay as long as they are
let; they come back after ten seconds. Twenty send 15 MB of one token, again and again.
All are in a process of their own. Beside them one client with a key reads: its p99 counts,
in ratio to the same without strangers.
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
HOLDING, TALKING = 100, 20
RETURN_SECONDS, AGAIN_SECONDS = 10.0, 0.2
HELD_BYTES, TOKEN_BYTES = 14 * 1024 * 1024, 15_000_000
MEBIBYTE = 1024


async def reads(target: Target, seconds: float) -> list[float]:
    """Read a list again and again; return how many milliseconds each took."""
    question = f"GET /v1/containers?limit=1 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {target.key}\r\n\r\n"
    took, end = [], time.perf_counter() + seconds
    reader, writer = await asyncio.open_connection(target.rest.hostname, target.rest.port)
    while time.perf_counter() < end:
        started = time.perf_counter()
        writer.write(question.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        took.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(PAUSE_SECONDS)
    writer.close()
    return took


def memory(target: Target) -> float:
    """Return the proportional set size of service and Envoy, in MiB."""
    kibibytes = 0
    for pid in target.parts.values():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kibibytes += int(rollup.partition("\nPss:")[2].split()[0])
    return kibibytes / MEBIBYTE


async def highest_memory(target: Target, highest: list[float]) -> None:
    """Look at the memory until cancelled."""
    while True:
        highest[0] = max(highest[0], memory(target))
        await asyncio.sleep(0.25)


async def measure(target: Target) -> None:
    """Read without strangers and beside them, and print both."""
    quiet, before = await reads(target, QUIET_SECONDS), memory(target)
    where = (str(target.rest.hostname), str(target.rest.port))
    strangers = await asyncio.create_subprocess_exec(sys.executable, __file__, *where)
    highest = [before]
    watching = asyncio.create_task(highest_memory(target, highest))
    try:
        await asyncio.sleep(2)
        busy = await reads(target, BUSY_SECONDS)
    finally:
        watching.cancel()
        strangers.kill()
        await strangers.wait()
    for name, took in (("quiet", quiet), ("beside strangers", busy)):
        print(f"{name:18}p50 {statistics.median(took):6.2f} ms   p99 {_p99(took):6.2f} ms   {len(took)} reads")
    print(f"{'ratio of p99':18}{_p99(busy) / _p99(quiet):.1f}")
    print(f"{'memory':18}{before:.0f} MiB, at most {highest[0]:.0f} beside strangers (+{highest[0] - before:.0f})")


def _p99(took: list[float]) -> float:
    return sorted(took)[int(len(took) * 0.99)]


async def stranger(host: str, port: int, size: int, pause_seconds: float) -> None:
    """Send a body without a key that is one token, and never its end, and come back after a pause."""
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
    """Send all strangers."""
    holding, talking = (HELD_BYTES, RETURN_SECONDS), (TOKEN_BYTES, AGAIN_SECONDS)
    await asyncio.gather(*(stranger(host, port, *one) for one in [holding] * HOLDING + [talking] * TALKING))


def main() -> None:
    """Measure, or be the strangers."""
    if len(sys.argv) > 1:
        asyncio.run(attack(sys.argv[1], int(sys.argv[2])))
    with berth() as target:
        asyncio.run(measure(target))


if __name__ == "__main__":
    main()
