"""What tests of several modules share: a configuration file to write, and a provider to ask."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.providers.scripted import Provided, providing
from support.servers.execs import ExecWorld, exec_world
from support.servers.hosted import Kept

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a configuration file and tells its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "berth.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
async def provider() -> AsyncIterator[Provided]:
    """Start a provider on a free port, which answers what it is told to."""
    async with providing() as provided:
        yield provided


@pytest.fixture
async def world(kept: Kept) -> AsyncIterator[ExecWorld]:
    """Return what runs commands with the fake sandbox; in the end nothing has failed, and no folder is left."""
    world = exec_world(kept)
    yield world
    await world.execs.drain(5)
    assert world.failures == []
    assert list(world.folder.iterdir()) == []
