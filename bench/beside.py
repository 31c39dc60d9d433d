"""Rows about what one caller's work does to the calls of another: their latency in quiet, and beside that work.

As a program, this module is that work. Clients without a key send unfinished bodies of one long token; 32 uploads run
at a time; a container of 50 000 files is deleted; 10 000 files of the Files API are listed again and again; 16 commands
start processes, or take memory, without end. It has the lowest priority, because these clients would be on other
machines; commands have their own.
"""

# ruff: noqa: S608 - all queries are put together from constants and the names of columns

import asyncio
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

import rows as measured
from loads import Load
from servers import KEY, MEBIBYTE, OTHER, Server

SECONDS = 10.0
PAUSE_SECONDS = 0.005
UPLOADS, FILES, LISTED, LISTS = 32, 50_000, 10_000, 50
HOLDING, REPEATING = (14 * MEBIBYTE, 10.0, 100), (15_000_000, 0.2, 20)
"""Clients without a key: how many bytes each sends, after how many seconds it returns, and how many there are."""
BOMBS = (
    # Each process starts others, as many as may be.
    "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "kept = []\nwhile True: kept.append(bytearray(1 << 24))",
)
EACH = 8
"""How many commands run each of them at a time."""
_CREATE = {"name": "bench", "provider": "ollama"}


class Beside(measured.Row):
    """Reads and writes of one caller beside the work of others."""

    name = "a read and a write beside other work"
    subjects = ("quiet", "uploads", "deletion", "lists", "strangers", "bombs")
    most_rounds = 3

    def measure(self, bench: measured.Bench, subject: str) -> measured.Figures:
        """Let the work run; read and write until it ends."""
        server = bench.servers.get(OTHER)
        measured.prepare(bench, server, measured.HOSTED, is_ours=True)
        container = make_large(server) if subject in {"deletion", "lists"} else ""
        rest = server.forget_peak()
        command = ["nice", "-n", "19", sys.executable, __file__, subject, server.rest, str(server.folder), container]
        reads: list[float] = []
        writes: list[float] = []
        with subprocess.Popen(command) as work:
            while work.poll() is None:
                read, written = bench.generator.run(*_loads(server))
                reads += read.latencies
                writes += written.latencies
        if work.returncode:
            raise RuntimeError(f"{subject} ended with {work.returncode}")
        figures = {"read p50 ms": statistics.median(reads), "read p99 ms": p99(reads), "write p99 ms": p99(writes)}
        return {**figures, "slowest ms": max(*reads, *writes), "above rest MiB": server.peak() - rest}


def _loads(server: Server) -> Iterator[Load]:
    """Yield the load of a caller who reads, and of one who writes."""
    for name in ("retrieve container", "create container"):
        load = measured.load_of(server, name, measured.HOSTED)
        yield replace(load, connections=1, seconds=0.5, pause_seconds=PAUSE_SECONDS)


def p99(latencies: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(latencies)[int(len(latencies) * 0.99)]


def make_large(server: Server) -> str:
    """Make a container of 50 000 files, and 10 000 files outside of it; return its id."""
    with httpx2.Client(base_url=f"http://{server.rest}/v1", headers=_headers(), timeout=60) as client:
        container: str = client.post("/containers", json=_CREATE).raise_for_status().json()["id"]
        client.post(f"/containers/{container}/files?filename=a", content=b"x").raise_for_status()
        outside = client.get("/files", params={"limit": 1}).raise_for_status().json()["data"]
        if not outside:
            client.post("/files?filename=a&purpose=batch&provider=ollama", content=b"x").raise_for_status()
    multiply(server.folder / "data", container, lists=not outside)
    return container


def multiply(data: Path, container: str, *, lists: bool) -> None:
    """Make many files, each with content of its own, out of the one in the container and the one outside."""
    with closing(sqlite3.connect(data / "berth.db", timeout=30)) as database, database:
        database.row_factory = sqlite3.Row
        (seq,) = database.execute("SELECT seq FROM containers WHERE id = ?", (container,)).fetchone()
        copies = [("files", "cfile_", FILES, f"container_seq = {seq}")]
        for table, prefix, count, condition in copies + [("tenant_files", "file-", LISTED, "1")] * lists:
            one = dict(database.execute(f"SELECT * FROM {table} WHERE {condition}").fetchone())
            del one["seq"]
            marks = ", ".join("?" * len(one))
            values = (list(row.values()) for row in copies_of(data, database, one, prefix, count - 1))
            database.executemany(f"INSERT INTO {table} ({', '.join(one)}) VALUES ({marks})", values)
            database.execute("UPDATE tenants SET bytes = bytes + ?", (count - 1,))
        database.execute("UPDATE containers SET bytes = ? WHERE seq = ?", (FILES, seq))


def copies_of(
    data: Path, database: sqlite3.Connection, one: dict[str, Any], prefix: str, count: int
) -> Iterator[dict[str, Any]]:
    """Yield rows like `one`, each with a blob of its own."""
    for number in range(count):
        name, sha256 = secrets.token_hex(20), secrets.token_hex(32)
        blob = f"{name[:2]}/{name}"
        (data / "blobs" / name[:2]).mkdir(exist_ok=True)
        (data / "blobs" / blob).write_bytes(b"x")
        database.execute("INSERT INTO blobs (key, sha256, bytes, holders) VALUES (?, ?, 1, 1)", (blob, sha256))
        path = {"path": f"/mnt/data/{number}"} if "path" in one else {}
        yield {**one, "id": f"{prefix}{secrets.token_hex(20)}", "blob": blob, "sha256": sha256, **path}


def _headers() -> dict[str, str]:
    return {"authorization": f"Bearer {KEY}"}


async def work(name: str, rest: str, folder: str, container: str) -> None:
    """Do the work of a subject."""
    async with httpx2.AsyncClient(base_url=f"http://{rest}/v1", headers=_headers(), timeout=600) as client:
        if name == "uploads":
            await asyncio.gather(*(upload(client) for _ in range(UPLOADS)))
        elif name == "deletion":
            (await client.delete(f"/containers/{container}")).raise_for_status()
            while leftovers(f"{folder}/data/berth.db"):  # noqa: ASYNC110 - another process works
                await asyncio.sleep(PAUSE_SECONDS)
        elif name == "lists":
            for _ in range(LISTS):
                (await client.get("/files", params={"limit": LISTED})).raise_for_status()
        elif name == "bombs":
            until = time.monotonic() + SECONDS
            await asyncio.gather(*(explode(client, source, until) for source in BOMBS * EACH))
        else:
            kinds = (HOLDING, REPEATING) if name == "strangers" else ()
            clients = (stranger(rest, *kind[:2]) for kind in kinds for _ in range(kind[2]))
            await asyncio.wait(map(asyncio.create_task, (asyncio.sleep(SECONDS), *clients)), timeout=SECONDS)


async def explode(client: httpx2.AsyncClient, source: str, until: float) -> None:
    """Run a bomb in a container of its own, again if it ends, until some time."""
    container = (await client.post("/containers", json=_CREATE)).raise_for_status().json()["id"]
    command: dict[str, Any] = {"argv": ["python3", "-c", source]}
    while (left := until - time.monotonic()) > 0:
        body = {**command, "timeout_ms": max(1, int(left * 1000))}
        (await client.post(f"/containers/{container}/execs", json=body)).raise_for_status()


async def upload(client: httpx2.AsyncClient) -> None:
    """Upload 64 MiB to a container of their own."""
    container = (await client.post("/containers", json=_CREATE)).raise_for_status().json()["id"]
    (await client.post(f"/containers/{container}/files?filename=a", content=random_bytes())).raise_for_status()


async def random_bytes() -> AsyncIterator[bytes]:
    """Yield 64 MiB."""
    for _ in range(64):
        yield os.urandom(MEBIBYTE)


def leftovers(database: str) -> int:
    """Return how many deleted containers still have files in the database."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        count: int = connection.execute("SELECT count(*) FROM leftovers").fetchone()[0]
        return count


async def stranger(rest: str, size: int, pause_seconds: float) -> None:
    """Send an unfinished body without a key, keep the connection until it is closed, and return."""
    head = (
        f"POST /v1/containers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(*rest.split(":"))
            writer.write(head.encode() + b'{"name": "')
            for _ in range(size // 65_536):
                writer.write(b"x" * 65_536)
                await writer.drain()
            await reader.read()
        await asyncio.sleep(pause_seconds)


def rows() -> list[measured.Row]:
    """Return the row."""
    return [Beside()]


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
