"""Reads what a command changed, without leaving the folder: its names and links are hostile.

Everything is opened beneath one folder by the kernel (openat2), which follows no link and crosses no mount.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from berth.adapters.sandbox.process.changes import is_mark
from berth.core.errors import StorageError
from berth.core.exec.changes import Change, ChangedFile, DeletedFile, SkippedFile
from berth.core.exec.sandbox import SandboxLimits
from berth.core.exec.workspace import MAX_FOLDERS, TOO_DEEP
from berth.core.paths import MAX_PART_BYTES, MAX_PATH_BYTES, ROOT

_OPENAT2 = 437
_BENEATH = 0x01 | 0x02 | 0x04 | 0x08
"""RESOLVE_NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS and BENEATH."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_MAX_SKIPPED = 100
_MAX_PATH = MAX_PATH_BYTES - len(ROOT) - 1
_CHUNK = 1 << 18
_ESCAPES = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))}
"""How control characters are printed; there may be thousands of names, and all calls share one interpreter."""
_OPAQUE = "user.overlay.opaque"
_KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
_PROBLEMS = {
    errno.EXDEV: "on another file system",
    errno.ELOOP: "symbolic link",
    errno.ENOENT: "changed while it was read",
    errno.EACCES: "not readable",
}


LIBC = ctypes.CDLL(None, use_errno=True)
"""Opened once: that takes longer than a call."""


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def harvest(files: Path, changes: Path, limits: SandboxLimits) -> Iterator[Change]:
    """Yield what differs from `files` according to `changes`, the upper layer of an overlay.

    Call it when no process of the command is left. StorageError if the kernel cannot open safely (before 5.6).
    """
    with opened(files) as lower, opened(changes) as upper:
        yield from bounded(Harvest(lower, upper, limits).walk("", 0))


def bounded(found: Iterator[Change]) -> Iterator[Change]:
    """Yield changes, but not more than some of those that are skipped."""
    skipped = 0
    for change in found:
        if isinstance(change, SkippedFile):
            skipped += 1
            if skipped > _MAX_SKIPPED:
                continue
        yield change
    if skipped > _MAX_SKIPPED:
        yield SkippedFile("…", f"{skipped - _MAX_SKIPPED} more entries")


class Harvest:
    """Walks through the changes in the folder `upper` over the files in the folder `lower`, both open."""

    def __init__(self, lower: int, upper: int, limits: SandboxLimits) -> None:
        self._lower = lower
        self.upper = upper
        self.is_cut = False
        self._entries_left = limits.files
        self.bytes_left = limits.disk_bytes

    def walk(self, folder: str, depth: int) -> Iterator[Change]:
        """Yield what changed in a folder and beneath it, folders in the order of their names."""
        with opened_beneath(self.upper, folder or ".", os.O_DIRECTORY) as opened:
            names = sorted(map(os.fsencode, os.listdir(opened)))  # noqa: PTH208 - an open folder has no path
            yield from self._replaced(folder, opened, names)
        for name in names:
            if self._entries_left <= 0 and not self._is_removed(folder, name):
                self.is_cut = True
                yield SkippedFile(_printable(folder.encode() or b"."), "too many files")
                return
            self._entries_left -= 1
            yield from self._entry(folder, name, depth)

    def _entry(self, folder: str, name: bytes, depth: int) -> Iterator[Change]:
        path = os.fsencode(folder) + b"/" + name if folder else name
        if reason := _refusal(name, path, depth):
            yield SkippedFile(_printable(path), reason)
            return
        try:
            yield from self._accepted(path.decode(), depth)
        except OSError as error:
            yield SkippedFile(_printable(path), _PROBLEMS.get(error.errno or 0, "not readable"))

    def _accepted(self, path: str, depth: int) -> Iterator[Change]:
        with opened_beneath(self.upper, path, os.O_PATH) as place:
            info = os.fstat(place)
        if stat.S_ISDIR(info.st_mode):
            if self._is_file_below(path):
                yield DeletedFile(path)
            yield from self.walk(path, depth + 1)
        elif stat.S_ISREG(info.st_mode):
            yield from self._file(path)
        elif is_mark(info):
            self._entries_left += 1  # there are no more than files of the container
            yield from self._deleted(path)
        else:
            yield self.refused(path, info)

    def _is_removed(self, folder: str, name: bytes) -> bool:
        """Return whether an entry is the mark of a file that was removed."""
        path = os.fsencode(folder) + b"/" + name if folder else name
        try:
            with opened_beneath(self.upper, os.fsdecode(path), os.O_PATH) as place:
                return is_mark(os.fstat(place))
        except OSError:
            return False

    @staticmethod
    def refused(path: str, info: os.stat_result) -> SkippedFile:
        """Return why an entry that is no regular file is not taken."""
        return SkippedFile(_printable(path.encode()), _KINDS.get(stat.S_IFMT(info.st_mode), "no regular file"))

    def _replaced(self, folder: str, opened: int, names: list[bytes]) -> Iterator[Change]:
        """Yield the files of a folder of the container that is replaced by an open one, which has some names."""
        if folder and _is_opaque(opened):
            yield from self._hidden(folder, names)

    def _file(self, path: str) -> Iterator[Change]:
        with opened_beneath(self.upper, path, 0) as opened:
            info = os.fstat(opened)
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.ENOENT, "")
            if info.st_size > self.bytes_left:
                yield SkippedFile(path, "too large")
                return
            if self._is_unchanged(path, opened, info.st_size):
                return
            self.bytes_left -= info.st_size
            yield from self._hidden(path, [])
            yield ChangedFile(path, info.st_size, opened)

    def _is_unchanged(self, path: str, opened: int, size: int) -> bool:
        try:
            with opened_beneath(self._lower, path, 0) as old:
                if not stat.S_ISREG(os.fstat(old).st_mode) or os.fstat(old).st_size != size:
                    return False
                return _is_same(old, opened, size)
        except OSError:
            return False

    def _is_file_below(self, path: str) -> bool:
        try:
            with opened_beneath(self._lower, path, os.O_PATH) as old:
                return stat.S_ISREG(os.fstat(old).st_mode)
        except OSError:
            return False

    def _deleted(self, path: str) -> Iterator[Change]:
        if self._is_file_below(path):
            yield DeletedFile(path)
        yield from self._hidden(path, [])

    def _hidden(self, folder: str, kept: list[bytes]) -> Iterator[Change]:
        """Yield the files of a folder of the container, if it is one, that is replaced, except those in `kept`."""
        try:
            with opened_beneath(self._lower, folder, os.O_DIRECTORY) as old:
                names = sorted(os.listdir(old))  # noqa: PTH208 - an open folder has no path
        except OSError:
            return
        for name in names:
            if os.fsencode(name) not in kept:
                yield from self._deleted(f"{folder}/{name}")


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Open a folder of Berth's."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def opened_beneath(folder: int, path: str, flags: int) -> Iterator[int]:
    """Open what a command may have made beneath an open folder; with O_PATH it may be a link, which is not followed."""
    how = _How(_READ | flags if flags != os.O_PATH else os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _BENEATH)
    if flags == os.O_PATH:
        # The last part may be a link, which is then seen as one.
        how.resolve &= ~0x04
    descriptor = LIBC.syscall(_OPENAT2, folder, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if descriptor < 0:
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            raise StorageError("files of sandboxes cannot be read safely: the kernel is older than 5.6")
        raise OSError(number, os.strerror(number))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_opaque(folder: int) -> bool:
    try:
        return os.getxattr(folder, _OPAQUE) == b"y"
    except OSError:
        return False


def _is_same(old: int, new: int, size: int) -> bool:
    return all(os.pread(old, _CHUNK, offset) == os.pread(new, _CHUNK, offset) for offset in range(0, size, _CHUNK))


def _refusal(name: bytes, path: bytes, depth: int) -> str | None:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    if text.translate(_ESCAPES) != text:
        return "the name has control characters"
    if len(name) > MAX_PART_BYTES or len(path) > _MAX_PATH:
        return "the path is too long"
    return TOO_DEEP if depth > MAX_FOLDERS else None


def _printable(path: bytes) -> str:
    clean = path.decode(errors="backslashreplace").translate(_ESCAPES)
    return clean if len(clean) <= _MAX_PATH else clean[:_MAX_PATH] + "…"
