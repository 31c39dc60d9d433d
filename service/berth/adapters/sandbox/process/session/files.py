"""Has the folder of a session hold what the container holds, while no process of the session runs.

The folder is one that programs have worked in, so each step goes from an open folder to the next and follows no link.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def update(top: int, incoming: str | None, removed: Sequence[str]) -> list[str]:
    """Remove files, and put those beneath the folder `incoming` in their places; return those that were not.

    A link or another entry that is no file of the container makes room; a folder that is not empty does not.
    """
    for path in removed:
        _remove(top, path)
    return [] if incoming is None else [path for path in _files(incoming) if not _put(top, incoming, path)]


def _files(folder: str) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(parent, name), folder)


def _remove(top: int, path: str) -> None:
    parent, _, name = path.rpartition("/")
    try:
        with _parent(top, parent, make=False) as folder:
            if stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
    except OSError:
        return  # it is not there
    if parent:
        _remove_empty(top, parent)


def _remove_empty(top: int, path: str) -> None:
    """Remove a folder if it is empty, and then those that it is in."""
    parent, _, name = path.rpartition("/")
    try:
        with _parent(top, parent, make=False) as folder:
            os.rmdir(name, dir_fd=folder)
    except OSError:
        return
    if parent:
        _remove_empty(top, parent)


def _put(top: int, incoming: str, path: str) -> bool:
    parent, _, name = path.rpartition("/")
    try:
        with _parent(top, parent, make=True) as folder:
            _make_room(name, folder)
            descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
            with open(descriptor, "wb") as target, open(f"{incoming}/{path}", "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _make_room(name: str, folder: int) -> None:
    """Remove what has a name, unless it is a folder that is not empty."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


@contextmanager
def _parent(top: int, path: str, *, make: bool) -> Iterator[int]:
    """Open a folder beneath `top`; with `make`, what is in the way is removed and missing folders are made."""
    folder = os.dup(top)
    try:
        for name in filter(None, path.split("/")):
            if make:
                _make_folder(name, folder)
            inner = os.open(name, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _make_folder(name: str, folder: int) -> None:
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    os.mkdir(name, 0o700, dir_fd=folder)
