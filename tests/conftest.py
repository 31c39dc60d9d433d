"""What tests of several folders share: backends, and a server on a real socket before one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis.internal.conjecture.optimiser  # noqa: F401 - late, in the depth of a test, its import can fail (CPython 3.11)
import pytest

from support.fakes.caching import cached
from support.fakes.idempotent import once
from support.fakes.stores import FixedClock, MemoryBlobs, MemoryStore
from support.fakes.subjects import Subject
from support.servers.edge import Edge, passing_to_upstream, running_edge, serving_upstream
from support.servers.hosted import Kept, hosted, keeping
from support.servers.service import Served, serving
from support.servers.valkey import Valkey, valkey_running


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
