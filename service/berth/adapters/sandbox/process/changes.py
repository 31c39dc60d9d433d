"""Lays out the folder that a command writes to, and leaves in it exactly what the command changed."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK, _BLOCK = 1 << 20, 512
_OWNER = stat.S_IRUSR | stat.S_IWUSR
_OPAQUE = "user.overlay.opaque"
"""Marks a folder of an upper layer that replaces the one below it with all that is in that."""
MAX_DEPTH = 64
"""How many folders may be inside one another; a tree beyond that counts as too large."""
_TOO_MUCH = (1 << 62, 1 << 62)
MAX_COPIED_BYTES, MAX_COPIED_ENTRIES = 32 << 20, 1000
"""How much is copied so that folders can be renamed; with more, that is as with any overlay (EXDEV)."""
_TRIES = 100
"""How often a folder is opened up that a command closes again meanwhile."""


class Changes:
    """The folder with the changes of a command, while it runs and afterwards."""

    def __init__(self, files: str, changes: str, *, overlay: bool) -> None:
        self._files = files
        self._changes = changes
        self._overlay = overlay
        mark = os.urandom(8).hex()
        self.own = {"upper": f"{changes}/.upper-{mark}", "work": f"{changes}/.work-{mark}"}

    def prepare(self) -> None:
        """Make what the sandbox mounts: an empty upper layer, or copies of all files where no overlay works."""
        os.mkdir(self.own["work"], 0o700)
        if self._overlay:
            os.mkdir(self.own["upper"], 0o755)
        else:
            shutil.copytree(self._files, self.own["upper"], symlinks=True, copy_function=shutil.copyfile)
        self.top = os.open(self.own["upper"], _DIRECTORY)

    def limits_of_all(self, limits: dict[str, Any]) -> dict[str, Any]:
        """Return limits for all that is in the folder while the command runs.

        Besides what it writes, these are the copies, or a mark for each file that it removes.
        """
        if self._overlay:
            files = os.open(self._files, _DIRECTORY)
            size, count = 0, used(files)[1]
            os.close(files)
        else:
            size, count = used(self.top)
        if max(size, count) >= max(_TOO_MUCH):  # it cannot be measured: no more is allowed then
            size = count = 0
        return {**limits, "disk_bytes": limits["disk_bytes"] + size, "files": limits["files"] + count}

    def limits_of_changes(self, limits: dict[str, Any]) -> dict[str, Any]:
        """Drop the copies that are as they were, and return limits for what is left, without marks of removed files.

        Call it when no process of the command is left.
        """
        if not self._overlay:
            hold, files = os.open(self._changes, _DIRECTORY), os.open(self._files, _DIRECTORY)
            make_accessible(self.top, hold)
            _drop_unchanged(files, self.top)
            os.close(files)
            os.close(hold)
        return {**limits, "files": limits["files"] + _removals(self.top)}

    def settle(self) -> None:
        """Have the folder hold the changes and nothing else; call it after `limits_of_changes`."""
        hold = os.open(self._changes, _DIRECTORY)
        make_accessible(self.top, hold)
        os.close(self.top)
        discard(os.path.basename(self.own["work"]), hold, hold)
        # The command may have found the name of its folder, and made something with this name.
        upper = f"{self._changes}/.upper-{os.urandom(8).hex()}"
        os.rename(self.own["upper"], upper)
        for name in os.listdir(upper):
            os.rename(f"{upper}/{name}", f"{self._changes}/{name}")
        os.rmdir(upper)
        os.close(hold)


def are_copied(files: str) -> bool:
    """Return whether the files of a command are copied though an overlay works: if there are folders, and not too much.

    An overlay for ordinary users lets no folder be renamed that is in its lower layer.
    """
    top = os.open(files, _DIRECTORY)
    try:
        if not any(entry.is_dir(follow_symlinks=False) for entry in _entries(top)):
            return False
        size, count = used(top)
    finally:
        os.close(top)
    return size <= MAX_COPIED_BYTES and count <= MAX_COPIED_ENTRIES


def discard(name: str, parent: int, hold: int) -> None:
    """Remove a tree however deep it is: each folder in it is moved into the folder `hold` first."""
    waiting = [_moved(name, parent, hold)]
    while waiting:
        folder = waiting.pop()
        opened = os.open(folder, _DIRECTORY, dir_fd=hold)
        for inner in os.listdir(opened):
            if stat.S_ISDIR(os.stat(inner, dir_fd=opened, follow_symlinks=False).st_mode):
                waiting.append(_moved(inner, opened, hold))
            else:
                os.unlink(inner, dir_fd=opened)
        os.close(opened)
        os.rmdir(folder, dir_fd=hold)


def _moved(name: str, parent: int, hold: int) -> str:
    os.chmod(name, 0o700, dir_fd=parent)
    place = f".gone-{os.urandom(8).hex()}"
    os.rename(name, place, src_dir_fd=parent, dst_dir_fd=hold)
    return place


def _subfolder(name: str, parent: int) -> int | None:
    """Open a folder without following links; None if it is none any more, PermissionError if it is kept closed."""
    for _ in range(_TRIES):
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except PermissionError:
            _open_up(parent)
            _open_up_within(name, parent)
        except OSError:
            return None
    raise PermissionError(name)


def _open_up_within(name: str, parent: int) -> None:
    with suppress(OSError):  # the next try to open it tells
        place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{place}", stat.S_IRWXU)
        finally:
            os.close(place)


def _open_up(folder: int) -> None:
    """Have the owner of an open folder able to use it; commands that run may take that back at once."""
    mode = os.fstat(folder).st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(folder, stat.S_IMODE(mode) | stat.S_IRWXU)


def used(top: int, depth: int = 0) -> tuple[int, int]:
    """Return the bytes and the number of all entries beneath a folder.

    There are too many of both if it is too deep, or if the command keeps it from being looked at.
    """
    if depth > MAX_DEPTH:
        return _TOO_MUCH
    try:
        return _used(top, depth)
    except PermissionError:
        return _TOO_MUCH


def _used(top: int, depth: int) -> tuple[int, int]:
    size = count = 0
    for entry in _entries(top):
        count += 1
        if entry.is_dir(follow_symlinks=False):
            inner = _used_in(entry.name, top, depth)
            size, count = size + inner[0], count + inner[1]
        else:
            size += _size_of(entry, top)
    return size, count


def _used_in(name: str, parent: int, depth: int) -> tuple[int, int]:
    opened = _subfolder(name, parent)
    if opened is None:
        return 0, 0
    try:
        size, count = used(opened, depth + 1)
        # A folder keeps the room that its entries took, also when they are gone.
        return size + os.fstat(opened).st_blocks * _BLOCK, count
    finally:
        os.close(opened)


def _entries(folder: int) -> Iterator["os.DirEntry[str]"]:
    with os.scandir(folder) as found:
        yield from found


def _size_of(entry: "os.DirEntry[str]", folder: int) -> int:
    for _ in range(_TRIES):
        try:
            info = entry.stat(follow_symlinks=False)
        except PermissionError:  # a folder may be listed and its files written to, while its owner may not enter it
            _open_up(folder)
        except OSError:
            return 0
        else:
            size = info.st_blocks * _BLOCK
            return max(info.st_size, size) if stat.S_ISREG(info.st_mode) else size
    raise PermissionError(entry.name)


def _removals(top: int, depth: int = 0) -> int:
    """Return how many marks of removed files there are beneath a folder; call it after `used`, which opens it up."""
    count = 0
    for entry in _entries(top) if depth <= MAX_DEPTH else ():
        if entry.is_dir(follow_symlinks=False):
            if (opened := _subfolder(entry.name, top)) is not None:
                count += _removals(opened, depth + 1)
                os.close(opened)
        elif not entry.is_file(follow_symlinks=False):
            with suppress(OSError):
                count += is_mark(entry.stat(follow_symlinks=False))
    return count


def is_mark(info: os.stat_result) -> bool:
    """Return whether an entry of an upper layer marks a file as removed."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def make_accessible(top: int, hold: int, depth: int = 0) -> None:
    """Have the owner able to read and remove a folder and all in it; what is too deep for that is discarded."""
    _open_up(top)
    for name in os.listdir(top):
        mode = os.stat(name, dir_fd=top, follow_symlinks=False).st_mode
        if stat.S_ISREG(mode) and mode & _OWNER != _OWNER:
            os.chmod(name, mode | _OWNER, dir_fd=top)
        if not stat.S_ISDIR(mode):
            continue
        if depth >= MAX_DEPTH:
            discard(name, top, hold)
            continue
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, _DIRECTORY, dir_fd=top)
        make_accessible(inner, hold, depth + 1)
        os.close(inner)


def _drop_unchanged(files: int, top: int) -> None:
    """Remove from `top` what is as it is in `files`, and mark what is missing like an overlay does."""
    kept = set(os.listdir(top))
    for name in os.listdir(files):
        if name not in kept:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=top)
            continue
        modes = [os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode for folder in (files, top)]
        if all(map(stat.S_ISREG, modes)) and _is_same(name, files, top):
            os.unlink(name, dir_fd=top)
        if all(map(stat.S_ISDIR, modes)):
            pair = [os.open(name, _DIRECTORY, dir_fd=folder) for folder in (files, top)]
            with suppress(OSError):  # it has none; on an overlay a command cannot set this mark
                os.removexattr(pair[1], _OPAQUE)
            _drop_unchanged(pair[0], pair[1])
            for opened in pair:
                os.close(opened)
            with suppress(OSError):  # something in it has changed
                os.rmdir(name, dir_fd=top)


def _is_same(name: str, files: int, top: int) -> bool:
    with (
        open(os.open(name, _REGULAR, dir_fd=files), "rb") as old,
        open(os.open(name, _REGULAR, dir_fd=top), "rb") as new,
    ):
        if os.fstat(old.fileno()).st_size != os.fstat(new.fileno()).st_size:
            return False
        while chunk := old.read(_CHUNK):
            if new.read(len(chunk)) != chunk:
                return False
    return True
