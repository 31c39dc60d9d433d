"""Removes trees of folders that a command has made: they may be deep, and closed to their owner."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that is possible; nothing may change it meanwhile."""
    with suppress(OSError, RecursionError):
        shutil.rmtree(folder)
    if not folder.exists():
        return
    with suppress(OSError), _opened(str(folder)) as top:
        _empty(top)
    shutil.rmtree(folder, ignore_errors=True)


def _empty(top: int) -> None:
    """Empty an open folder; the folders inside one another are moved into it one by one."""
    waiting = _without_files(top, top)
    while waiting:
        name = waiting.pop()
        with _opened(name, top) as inner:
            waiting += _without_files(inner, top)
        os.rmdir(name, dir_fd=top)


def _without_files(folder: int, top: int) -> list[str]:
    """Remove the files of an open folder; return the names in `top` of the folders that were in it."""
    moved = []
    for name in os.listdir(folder):
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)
            continue
        os.chmod(name, stat.S_IRWXU, dir_fd=folder)
        moved.append(f"gone-{secrets.token_hex(8)}")
        os.rename(name, moved[-1], src_dir_fd=folder, dst_dir_fd=top)
    return moved


@contextmanager
def _opened(name: str, within: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, _FOLDER, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
