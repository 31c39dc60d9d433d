"""Measures the speed of uploads, compared with a handler that only counts bytes, and the cost of copying files.

Both servers receive the same uploads in turn, through Envoy: one at a time, and 16 concurrently. The result is the
ratio of the medians. All files differ, because Berth stores the same content only once.
"""

import asyncio
import json
import os
import statistics
import time
from itertools import count

from targets import Target, side_by_side

MEBIBYTE = 1_048_576
ROUNDS = 5
UPLOADS = [(1, 256 * MEBIBYTE, False), (16, 64 * MEBIBYTE, False), (16, 64 * MEBIBYTE, True)]
"""Number of concurrent uploads, size in bytes, and whether they are forms."""
CONTAINERS = 30
FILES = 50
"""The largest number of files that a container can be created with."""
_PIECE = os.urandom(256 * 1024)
_BOUNDARY = os.urandom(16).hex()  # as long as those of SDKs; searching for a short one takes longer
_FORM = f"multipart/form-data; boundary={_BOUNDARY}"
_HEAD = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()
_numbers = count(1)


async def post(target: Target, path: str, content_type: str, *, body: list[bytes]) -> dict[str, object]:
    """Send a request on a new connection and return the parsed response."""
    reader, writer = await asyncio.open_connection(target.rest.hostname, target.rest.port)
    length = sum(map(len, body))
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {target.key}\r\n"
    writer.write(f"{head}Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n".encode())
    for piece in body:
        writer.write(piece)
        await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    text = await reader.readexactly(int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
    writer.close()
    parsed: dict[str, object] = json.loads(text)
    return parsed


async def upload(target: Target, size: int, *, as_form: bool = False) -> str:
    """Upload a unique file of at least `size` bytes, as a form like SDKs or as plain bytes; return its id."""
    own = next(_numbers).to_bytes(16)
    head, tail, content_type = (_HEAD, _TAIL, _FORM) if as_form else (b"", b"", "application/octet-stream")
    pieces = [head + own, *[_PIECE] * (size // len(_PIECE)), _PIECE[: size % len(_PIECE)], tail]
    answer = await post(target, "/v1/files?provider=ollama&purpose=user_data", content_type, body=pieces)
    assert int(str(answer["bytes"])) >= size
    return str(answer["id"])


async def mebibytes_per_second(target: Target, *, at_once: int, size: int, as_form: bool) -> float:
    """Return the rate of `at_once` concurrent uploads of `size` bytes."""
    began = time.perf_counter()
    await asyncio.gather(*(upload(target, size, as_form=as_form) for _ in range(at_once)))
    return at_once * size / MEBIBYTE / (time.perf_counter() - began)


async def compare_uploads(berth: Target, ceiling: Target) -> None:
    """Measure both servers in turn and print the table."""
    print(f"{'':20}{'berth MiB/s':>14}{'counting MiB/s':>16}{'ratio':>8}")
    for at_once, size, as_form in UPLOADS:
        rates: dict[Target, list[float]] = {berth: [], ceiling: []}
        for _ in range(ROUNDS):
            for target, measured in rates.items():
                measured.append(await mebibytes_per_second(target, at_once=at_once, size=size, as_form=as_form))
        ours, theirs = (statistics.median(measured) for measured in rates.values())
        name = f"{at_once} x {size // MEBIBYTE} MiB{', form' if as_form else ''}"
        print(f"{name:20}{ours:>14.0f}{theirs:>16.0f}{ours / theirs:>8.2f}")


async def milliseconds_to_create(target: Target, file_ids: list[str]) -> float:
    """Return the time to create a container with these files."""
    body = json.dumps({"provider": "ollama", "name": "bench", "file_ids": file_ids}).encode()
    began = time.perf_counter()
    await post(target, "/v1/containers", "application/json", body=[body])
    return (time.perf_counter() - began) * 1000


async def compare_copies(berth: Target) -> None:
    """Measure containers with large and with small files in turn and print the result."""
    large = [await upload(berth, 10 * MEBIBYTE) for _ in range(FILES)]
    small = [await upload(berth, 1000) for _ in range(FILES)]
    times: dict[str, list[float]] = {"large": [], "small": []}
    for _ in range(CONTAINERS):
        times["large"].append(await milliseconds_to_create(berth, large))
        times["small"].append(await milliseconds_to_create(berth, small))
    ours, theirs = statistics.median(times["large"]), statistics.median(times["small"])
    print(
        f"a container with {FILES} files of 10 MiB: {ours:.2f} ms, of 1 kB: {theirs:.2f} ms, ratio {ours / theirs:.2f}"
    )


async def compare(berth: Target, ceiling: Target) -> None:
    """Measure uploads and then copies."""
    await compare_uploads(berth, ceiling)
    await compare_copies(berth)


def main() -> None:
    """Compare both servers."""
    with side_by_side() as (berth, ceiling):
        asyncio.run(compare(berth, ceiling))


if __name__ == "__main__":
    main()
