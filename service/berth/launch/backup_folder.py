"""The folder of a backup: marked as one, so that no other data are taken for a backup and replaced, and locked."""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from berth.launch.data_folder import LOCK, opened_lock
from berth.launch.refusal import StartError

MARK = "berth-backup"
_LOST_AND_FOUND = "lost+found"
_OWNER_ONLY = 0o600


@contextmanager
def claimed_for_backup(folder: Path, *, known: Collection[str], data: Collection[Path]) -> Iterator[None]:
    """Create and lock a folder for a backup of what is at the paths `data`.

    Raises StartError if another process uses it, if it is in the data or contains them, or if it is neither empty nor a
    backup: `known` are the names of files in a backup.
    """
    _require_apart(folder, data)
    if folder.is_dir():
        _require_backup(folder, known)  # before the lock is written, so that a folder of other files is not changed
    with opened_lock(folder, setting="FOLDER") as lock:
        if not lock.try_to_take():
            raise StartError(f"{folder} is in use by another process")
        _require_backup(folder, known)
        (folder / MARK).touch(mode=_OWNER_ONLY)
        yield


def _require_backup(folder: Path, known: Collection[str]) -> None:
    """Raise StartError unless the folder is empty or a backup."""
    names = {entry.name for entry in folder.iterdir()}
    others = sorted(names - {LOCK, _LOST_AND_FOUND, *({MARK, *known} if MARK in names else ())})
    if others:
        raise StartError(f"{folder} has other files than a backup: {others[0]}")


@contextmanager
def kept_for_reading(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a backup, which may be on a read-only disk, while the context lasts.

    Raises StartError if it is being made, or is the data folder of a running Berth.
    """
    with ExitStack() as stack:
        with suppress(FileNotFoundError):  # a copy of a backup may have been made without it
            descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            stack.callback(os.close, descriptor)
            _share(descriptor, folder)
        yield


def _share(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartError(f"{folder} is in use by another process") from error


def remove_mark(folder: Path) -> None:
    """Make the folder one that no backup may replace, because a Berth has its data there from now on."""
    with suppress(FileNotFoundError):
        (folder / MARK).unlink()


def _require_apart(folder: Path, data: Collection[Path]) -> None:
    """Raise StartError if the folder, or what a link in it leads to, overlaps with data."""
    for path in map(_resolved, (folder, *(folder.iterdir() if folder.is_dir() else ()))):
        for place in map(_resolved, data):
            if path.is_relative_to(place) or place.is_relative_to(path):
                raise StartError(f"{folder} cannot have a backup, because the data are in {place}; choose another one")


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `Path.resolve` fails for links that lead to themselves
