"""Every store and every fake, for the suites of their contracts."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.files import SqlFiles
from berth.core.observation.blobs import ObservedBlobs
from berth.core.observation.spans import NO_TRACER
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_store import FileStore
from support.fakes.blobs import MemoryBlobs
from support.fakes.files import MemoryFiles
from support.fakes.records import NOW
from support.fakes.stores import FixedClock, MemoryStore
from support.sandboxes.opened import SANDBOXES, Opened, opened_sandbox
from support.servers.databases import KINDS, opened


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture(params=[*KINDS, "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> AsyncIterator[ContainerStore]:
    if request.param == "memory":
        yield MemoryStore(clock)
        return
    async with opened(request.param, request, tmp_path) as database:
        yield SqlStore(database, now=clock)


@pytest.fixture(params=[*KINDS, "memory"])
async def files(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> AsyncIterator[FileStore]:
    if request.param == "memory":
        yield MemoryFiles(clock)
        return
    async with opened(request.param, request, tmp_path) as database:
        yield SqlFiles(database, now=clock)


@pytest.fixture(params=["folder", "observed", "memory", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "memory":
        yield MemoryBlobs()
        return
    if request.param == "s3":
        yield request.getfixturevalue("s3").opened()
        return
    folder = FileBlobs.open((tmp_path / "blobs").as_uri())
    is_observed = request.param == "observed"
    yield ObservedBlobs(folder, PrometheusMetrics(), NO_TRACER, store="file") if is_observed else folder
    folder.close()


@pytest.fixture(scope="module", params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Open each driver, and each way in which a sandbox can see its files."""
    with opened_sandbox(tmp_path_factory.mktemp("sandbox"), request.param) as sandbox:
        yield sandbox
