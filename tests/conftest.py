"""What tests of several folders share: backends, and a server on a real socket before one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fakes import FixedClock, MemoryBlobs, MemoryStore
from keeping import Kept, hosted, keeping
from serving import Served, serving
from subjects import Subject


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Open a backend on SQLite and a folder, both empty."""
    with keeping(tmp_path) as kept:
        yield kept


@pytest.fixture
async def served(kept: Kept) -> AsyncIterator[Served]:
    """Start a server of `kept` on a free port of 127.0.0.1."""
    async with serving(kept.backend) as served:
        yield served


@pytest.fixture(params=["memory", "sqlite and a folder"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    """Open each backend that the suites of Backend run against."""
    if request.param == "memory":
        clock = FixedClock()
        yield Subject(hosted(MemoryStore(), MemoryBlobs(), clock=clock), clock)
        return
    with keeping(tmp_path) as kept:
        yield Subject(kept.backend, kept.clock)
