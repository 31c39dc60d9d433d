"""Every store and every fake, for the suites of their contracts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.adapters.object_blobs import ObjectBlobs
from berth.adapters.sql_database import SqlDatabase
from berth.adapters.sql_store import SqlStore
from berth.core.stores import BlobStore, ContainerStore
from fakes import FixedClock, MemoryBlobs, MemoryStore
from records import NOW


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ContainerStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    database = SqlDatabase.open(f"sqlite:///{tmp_path}/berth.db")
    yield SqlStore(database, now=FixedClock(NOW))
    database.close()


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "memory":
        yield MemoryBlobs()
        return
    folder = ObjectBlobs.open((tmp_path / "blobs").as_uri())
    yield folder
    folder.close()
