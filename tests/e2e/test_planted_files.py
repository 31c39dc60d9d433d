"""A data folder in which others have planted something: Berth does not start, and touches nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.servers.process import refused_berth

KEY = f"sk-bf-{'0123456789ab' * 4}\n"


def link(path: Path) -> None:
    """Plant a link to a file of somebody else."""
    path.symlink_to(path.parent.parent / "victim")


def pipe(path: Path) -> None:
    """Plant a pipe that nobody writes into."""
    os.mkfifo(path, 0o600)


def widened(path: Path) -> None:
    """Plant a key that everybody can read."""
    path.write_text(KEY)
    path.chmod(0o644)


def opened(path: Path) -> None:
    """Let others write to the folder."""
    path.parent.chmod(0o770)


@pytest.mark.parametrize(
    ("name", "plant", "reason"),
    [
        ("lock", link, "it is a symbolic link"),
        ("first-key", pipe, "it is not a regular file"),
        ("first-key", widened, "other users can access it (mode 0644)"),
        ("folder", opened, "other users can write to it (mode 0770)"),
    ],
)
def test_berth_does_not_start_on_what_was_planted(
    tmp_path: Path, name: str, plant: Callable[[Path], None], reason: str
) -> None:
    """One line names the setting and the reason; a pipe is not waited for, and the target of a link stays as it was."""
    victim, folder = tmp_path / "victim", tmp_path / "data"
    victim.write_text(KEY)
    victim.chmod(0o600)
    folder.mkdir(mode=0o700)
    plant(folder / name)
    code, output, errors = refused_berth("serve", "--data-dir", str(folder), "--grpc-port", "0")
    assert (code, output) == (2, "")
    assert errors.startswith("berth: data_dir: ")
    assert reason in errors
    assert errors.count("\n") == 1
    assert victim.read_text() == KEY
