"""Trees of folders as hostile commands make them."""

import os
from pathlib import Path


def make_deep(folder: Path, depth: int) -> None:
    """Make folders inside one another, more than a path can name."""
    folder.mkdir()
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=opened)
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=opened)
        os.close(opened)
        opened = inner
    os.close(opened)
