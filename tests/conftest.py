"""What tests of several folders share: backends, and a server on a real socket before one."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis.internal.conjecture.optimiser  # noqa: F401 - late, in the depth of a test, its import can fail (CPython 3.11)
import pytest
from hypothesis import settings

from support.fakes.blobs import MemoryBlobs
from support.fakes.caching import cached
from support.fakes.idempotent import once
from support.fakes.stores import FixedClock, MemoryStore
from support.fakes.subjects import Subject
from support.servers.edge import Edge, passing_to_upstream, running_edge, serving_upstream
from support.servers.hosted import Kept, hosted, keeping
from support.servers.postgres import Postgres, postgres_running
from support.servers.s3 import S3, s3_running
from support.servers.service import Served, serving
from support.servers.valkey import Valkey, valkey_running

settings.register_profile("berth", deadline=None)
"""How long an example takes says nothing on a machine that runs other tests as well."""


def pytest_configure() -> None:
    """Let clients in the tests reach this machine without the proxies of the environment."""
    settings.load_profile("berth")
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "::1", "localhost")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("soak") is None)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Open a backend on SQLite and a folder, both empty."""
    with keeping(tmp_path) as kept:
        yield kept


@pytest.fixture
async def served(kept: Kept) -> AsyncIterator[Served]:
    """Start a server of `kept` on a free port of 127.0.0.1."""
    async with serving(kept.backend, kept.store) as served:
        yield served


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """Run a Valkey for all tests of a process."""
    with valkey_running() as valkey:
        yield valkey


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL server for all tests of a process."""
    with postgres_running() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """Return the URL of a database that tests leave without rows."""
    return postgres.fresh()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """Run an S3 server for all tests of a process."""
    with s3_running() as server:
        yield server


@pytest.fixture
def s3(s3_server: S3) -> S3:
    """Return an empty prefix of a bucket."""
    return s3_server.fresh()


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Run an Envoy for the upstreams of all tests."""
    with running_edge(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@pytest.fixture
async def passed_through(kept: Kept, edge: Edge) -> AsyncIterator[Subject]:
    """Open a backend whose containers another Berth keeps, behind its own Envoy."""
    async with serving_upstream(kept, edge), passing_to_upstream(edge.rest, kept.clock) as backend:
        yield Subject(backend, kept.clock)


@pytest.fixture(params=["memory", "sqlite and a folder", "cached", "idempotent", "passed through"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """Open each backend that the suites of Backend run against."""
    clock = FixedClock()
    if request.param == "memory":
        return Subject(hosted(MemoryStore(clock), MemoryBlobs(), clock=clock), clock)
    if request.param == "cached":
        return Subject(cached(hosted(MemoryStore(clock), MemoryBlobs(), clock=clock), clock, always=True), clock)
    if request.param == "passed through":
        return request.getfixturevalue("passed_through")  # type: ignore[no-any-return] # pytest's
    kept: Kept = request.getfixturevalue("kept")
    if request.param == "idempotent":
        return Subject(once(kept), kept.clock)
    return Subject(kept.backend, kept.clock)
