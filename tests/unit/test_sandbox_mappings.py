"""What the watch of a sandbox makes of the mappings of a process, as the kernel describes them."""

import os
import subprocess
import sys

SINCE = (6, 11)
"""The version of Linux that can be asked for a single mapping."""
PROGRAM = """
import mmap, os, sys, tempfile
from berth.adapters.sandbox.process.watch.mappings import shares_no_file
maps = os.open("/proc/self/maps", os.O_RDONLY)
file = tempfile.TemporaryFile()
file.write(b"a" * mmap.PAGESIZE)
file.flush()
print(shares_no_file(maps))
read = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
print(shares_no_file(maps))
private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
print(shares_no_file(maps))
written = mmap.mmap(file.fileno(), 0)
print(shares_no_file(maps))
"""


def test_memory_that_is_shared_with_a_file_is_known() -> None:
    """Only if it can be written to; a kernel that cannot be asked says nothing, and then the list is read."""
    version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    can_be_asked = str(version >= SINCE)
    assert done.stdout.split() == [can_be_asked, can_be_asked, can_be_asked, "False"]
