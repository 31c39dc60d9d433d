"""Every store and every fake, for the suites of their contracts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.files import SqlFiles
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_store import FileStore
from support.fakes.files import MemoryFiles
from support.fakes.records import NOW
from support.fakes.stores import FixedClock, MemoryBlobs, MemoryStore


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[ContainerStore]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    database = SqlDatabase.open(f"sqlite:///{tmp_path}/berth.db")
    yield SqlStore(database, now=clock)
    database.close()


@pytest.fixture(params=["sqlite", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[FileStore]:
    if request.param == "memory":
        yield MemoryFiles(clock)
        return
    database = SqlDatabase.open(f"sqlite:///{tmp_path}/berth.db")
    yield SqlFiles(database, now=clock)
    database.close()


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "memory":
        yield MemoryBlobs()
        return
    folder = FileBlobs.open((tmp_path / "blobs").as_uri())
    yield folder
    folder.close()
