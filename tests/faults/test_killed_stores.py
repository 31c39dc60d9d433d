"""What is on the disk after `kill -9`: all that was acknowledged, and nothing that was not."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.sqlite.transaction import finish
from berth.core.errors import NotFoundError

PUT_HALF = """
import asyncio, sys
from berth.adapters.blobs.folder import FileBlobs

async def whole():
    yield b"whole"

async def half():
    yield bytes(3_000_000)
    print("half-way", flush=True)
    await asyncio.Event().wait()

async def main():
    blobs = FileBlobs.open(sys.argv[1])
    await blobs.put("cntr_1/whole", whole())
    await blobs.put("cntr_1/half", half())

asyncio.run(main())
"""

ADD_ROWS = """
import asyncio, itertools, sys
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.containers import SqlStore
from berth.core.ports.container_store import ContainerRecord
from berth.v1.container_pb2 import Container

async def add(store, container_id):
    await store.add_container(ContainerRecord(Container(id=container_id), "ours", 1))
    print(container_id, flush=True)

async def main():
    store = SqlStore(SqliteDatabase.open(sys.argv[1]))
    for i in itertools.count():
        await asyncio.gather(*(add(store, f"c{i}-{j}") for j in range(7)))

asyncio.run(main())
"""


@contextmanager
def killed(code: str, url: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `code` until the block ends, then kill it without warning."""
    process = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_a_killed_upload_leaves_no_blob(tmp_path: Path) -> None:
    """A put that was killed half-way is not there; opening again removes its remains and keeps the rest."""
    url = tmp_path.as_uri()
    with killed(PUT_HALF, url) as process:
        assert line_of(process) == "half-way"
    process.communicate()
    assert files_in(tmp_path / "cntr_1") == ["whole"]
    assert len(files_in(tmp_path)) == 2
    blobs = FileBlobs.open(url)
    assert files_in(tmp_path) == ["whole"]
    with pytest.raises(NotFoundError):
        await blobs.get("cntr_1/half", offset=0, length=1)
    assert [chunk async for chunk in await blobs.get("cntr_1/whole", offset=0, length=5)] == [b"whole"]
    blobs.close()


async def test_acknowledged_rows_survive_a_kill(tmp_path: Path) -> None:
    """Every row that was acknowledged before the kill is there when the store is opened again."""
    url = f"sqlite:///{tmp_path}/berth.db"
    with killed(ADD_ROWS, url) as process:
        acknowledged = [line_of(process) for _ in range(300)]
    rest, _ = process.communicate()
    acknowledged += rest.splitlines()[:-1]  # the last line may be cut
    database = SqliteDatabase.open(url)
    store = SqlStore(database)
    for container_id in acknowledged:
        assert await store.get_container("ours", container_id)
    assert finish(database.one("PRAGMA integrity_check")) == ("ok",)
    database.close()
