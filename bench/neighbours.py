"""How much the uploads of one caller disturb the reads of another: their p99 beside uploads, in ratio to quiet.

32 uploads of 64 MiB each run at a time, from a process of their own.
"""

import asyncio
import os
import statistics
import sys
from collections.abc import AsyncIterator

import httpx2

from strangers import p99, reads
from targets import Target, berth

UPLOADS, MEBIBYTES = 32, 64
QUIET_SECONDS = 10.0


async def measure(target: Target) -> None:
    """Read without uploads and beside them, and print both."""
    quiet = await reads(target, QUIET_SECONDS)
    uploads = await asyncio.create_subprocess_exec(sys.executable, __file__, target.rest.geturl(), target.key)
    busy: list[float] = []
    while uploads.returncode is None:
        busy += await reads(target, 0.5)
    assert uploads.returncode == 0
    for name, took in (("quiet", quiet), ("beside uploads", busy)):
        print(f"{name:18}p50 {statistics.median(took):6.2f} ms   p99 {p99(took):6.2f} ms   {len(took)} reads")
    print(f"{'ratio of p99':18}{p99(busy) / p99(quiet):.1f}")


async def upload_all(rest: str, key: str) -> None:
    """Send all uploads at the same time."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=rest, headers=headers, timeout=600) as client:

        async def upload(number: int) -> None:
            new = {"name": f"bench {number}", "provider": "ollama"}
            container = (await client.post("/v1/containers", json=new)).raise_for_status().json()["id"]
            path = f"/v1/containers/{container}/files?filename=a"
            (await client.post(path, content=random_bytes())).raise_for_status()

        await asyncio.gather(*(upload(number) for number in range(UPLOADS)))


async def random_bytes() -> AsyncIterator[bytes]:
    """Yield the bytes of an upload."""
    for _ in range(MEBIBYTES):
        yield os.urandom(1024 * 1024)


def main() -> None:
    """Measure, or be the uploads."""
    if len(sys.argv) > 1:
        asyncio.run(upload_all(*sys.argv[1:]))
    else:
        with berth() as target:
            asyncio.run(measure(target))


if __name__ == "__main__":
    main()
