"""Says what a program of a session changed in its folder: what is not as it was after the program before.

A file is taken as unchanged if its inode, size and times are those that were recorded with its content. A program can
set `mtime` but not `ctime`, so this cannot be deceived, except where `ctime` does not tell: a change within the same
tick of the clock, memory that is mapped from a file, and file systems in memory, which set no times for such memory.
Such files are read again.
"""

import ctypes
import os
import stat
import struct
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from berth.adapters.sandbox.harvest import LIBC, Harvest, bounded, opened, opened_beneath
from berth.core.exec.changes import Change, ChangedFile, DeletedFile, SkippedFile
from berth.core.exec.sandbox import SandboxLimits

_TICK_NS = 100_000_000
"""Longer than a tick of any clock that file systems use."""
_IN_MEMORY = frozenset({0x01021994, 0x858458F6})
"""The numbers of tmpfs and ramfs (statfs(2))."""
_Signature = tuple[int, ...]


class FolderRecord:
    """What is known of the files in the folder of a session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._signatures: dict[str, _Signature] = {}
        self._has_times = not _is_in_memory(folder)

    def changes(self, limits: SandboxLimits, paths: Collection[str], *, is_mapped: bool) -> Iterator[Change]:
        """Yield what has changed since the last time, when there were files at `paths`; call it while nothing runs.

        `is_mapped` says that a process had mapped files at some time since then. What is yielded is recorded.
        """
        known = {} if is_mapped or not self._has_times else self._signatures
        with opened(self._folder) as folder:
            walk = _Walk(folder, limits, known)
            yield from bounded(walk.changes(paths))
        self._signatures = walk.found


class _Walk(Harvest):
    def __init__(self, folder: int, limits: SandboxLimits, known: dict[str, _Signature]) -> None:
        super().__init__(folder, folder, limits)
        self._known = known
        self._now = time.time_ns()
        self._skipped: set[str] = set()
        self._seen: set[str] = set()
        self.found: dict[str, _Signature] = {}

    def changes(self, paths: Collection[str]) -> Iterator[Change]:
        """Yield all changes."""
        for change in self.walk("", 0):
            if isinstance(change, SkippedFile):
                self._skipped.add(change.path)
            yield change
        if self.is_cut:
            return
        for path in paths:
            if path not in self._seen and self._skipped.isdisjoint(_with_parents(path)):
                yield DeletedFile(path)

    def _replaced(self, folder: str, opened: int, names: list[bytes]) -> Iterator[Change]:  # noqa: ARG002 - as there
        return iter(())  # deletions are found by the paths that are missing

    def _accepted(self, path: str, depth: int) -> Iterator[Change]:
        with opened_beneath(self.upper, path, os.O_PATH) as place:
            info = os.fstat(place)
        if stat.S_ISREG(info.st_mode):
            yield from self._regular(path, info)
        elif stat.S_ISDIR(info.st_mode):
            yield from self.walk(path, depth + 1)
        else:
            yield self.refused(path, info)

    def _regular(self, path: str, info: os.stat_result) -> Iterator[Change]:
        self._seen.add(path)
        signature = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
        if self._known.get(path) != signature:
            if info.st_size > self.bytes_left:
                yield SkippedFile(path, "too large")
                return
            self.bytes_left -= info.st_size
            with opened_beneath(self.upper, path, 0) as descriptor:
                yield ChangedFile(path, info.st_size, descriptor)
        if info.st_ctime_ns < self._now - _TICK_NS:
            self.found[path] = signature


def _with_parents(path: str) -> Iterator[str]:
    """Yield a path and the folders that it is in."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _is_in_memory(folder: Path) -> bool:
    found = ctypes.create_string_buffer(256)
    if LIBC.statfs(os.fsencode(folder), found) != 0:
        return True  # then nothing is taken for granted
    return struct.unpack_from("l", found)[0] & 0xFFFFFFFF in _IN_MEMORY
