"""A configuration file to write, for the tests of the configuration."""

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a configuration file and tells its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "berth.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
