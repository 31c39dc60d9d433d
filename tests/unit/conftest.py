"""What tests of several modules share: a configuration file to write, and a provider to ask."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.providers.scripted import Provided, providing

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
