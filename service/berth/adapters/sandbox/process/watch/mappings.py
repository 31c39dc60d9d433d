"""Says what the mappings of a process are, as /proc lists them."""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

_MAPPING_BYTES = 256
"""What the kernel needs to describe a mapping."""
_SHARED = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) ...s \S+ (\S+) (\d+) +\S.*\(deleted\)$", re.MULTILINE)
_FILES = re.compile(rb"^(\S+) (....) \S+ (\S+) (\d+) *(.*)$", re.MULTILINE)
_NO_FILES = (b"/dev/zero", b"/SYSV", b"/memfd:", b"/anon_hugepage", b"/[aio]", b"anon_inode:")
_DELETED = b"(deleted)"
_MAY_MATTER = (b"-s ", b"xs ", _DELETED)
"""What a list has if memory is shared, or a file has no name any more; most need not be parsed."""
_QUERY = struct.Struct("=9Q4I2Q")
_ASK = 3 << 30 | _QUERY.size << 16 | ord("f") << 8 | 17
_SHARED_FILES = 0x08 | 0x10 | 0x20
"""PROCMAP_QUERY of Linux 6.11: the first mapping that is shared and of a file, from an address on."""
_START, _END = 3, 4
"""Where the answer has the place of that mapping."""
_MAX_ASKED = 64
"""How many mappings are asked for before the list is read instead."""


class Mappings(NamedTuple):
    """How many there are, and what the kernel needs for them; the sizes of shared memory without a name, by its inode.

    `shared_files` are the places of memory that is shared with files on a disk; `has_hidden` if some files have no name
    any more.
    """

    number: int
    own: int
    shared: dict[bytes, int]
    shared_files: tuple[str, ...]
    has_hidden: bool


def read_mappings(text: bytes, in_memory: Iterable[int]) -> Mappings:
    """Return what a list of mappings says; `in_memory` are the devices of file systems in memory."""
    number = text.count(b"\n")
    own = number * _MAPPING_BYTES
    if not any(sign in text for sign in _MAY_MATTER):
        return Mappings(number, own, {}, (), has_hidden=False)
    shared: dict[bytes, int] = {}
    for start, end, device, inode in _SHARED.findall(text):
        key = device + b" " + inode
        shared[key] = shared.get(key, 0) + int(end, 16) - int(start, 16)
    devices = {f"{os.major(device):02x}:{os.minor(device):02x}".encode() for device in in_memory}
    files = [
        (place, rights, name)
        for place, rights, device, inode, name in _FILES.findall(text)
        if device not in devices and inode != b"0" and not name.startswith(_NO_FILES)
    ]
    places = (place.split(b"-") for place, rights, _ in files if rights[3:] == b"s")
    shared_files = tuple(_place(int(start, 16), int(end, 16)) for start, end in places)
    has_hidden = any(name.endswith(_DELETED) for *_, name in files)
    return Mappings(number, own, shared, shared_files, has_hidden)


def _place(start: int, end: int) -> str:
    """Return the name that a mapping has in `map_files`."""
    return f"{start:x}-{end:x}"


def writes_no_file(maps: int, may_write: Callable[[str], bool]) -> bool:
    """Return whether the kernel says, of an open list of mappings, that none is shared with a file that may be written.

    `may_write` says whether the one at a place may. If the answer is no, the list has to be read, which takes twenty
    times as long: older kernels do not say it, and memory that is shared without a file counts as one of a file.
    """
    address = 0
    for _ in range(_MAX_ASKED):
        asked = bytearray(_QUERY.pack(_QUERY.size, _SHARED_FILES, address, *(0,) * 12))
        try:
            fcntl.ioctl(maps, _ASK, asked)
        except OSError as error:
            return error.errno == errno.ENOENT
        found = _QUERY.unpack(asked)
        if may_write(_place(found[_START], found[_END])):
            return False
        address = found[_END]
    return False
