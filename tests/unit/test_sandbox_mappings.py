"""What the watch of a sandbox makes of the mappings of a process, as the kernel describes them."""

import os
import subprocess
import sys

SINCE = (6, 11)
"""The version of Linux that can be asked for a single mapping."""
PROGRAM = """
import mmap, os, stat, tempfile
from berth.adapters.sandbox.process.watch.mappings import writes_no_file
maps = os.open("/proc/self/maps", os.O_RDONLY)

def may_write(place):
    return bool(os.lstat(f"/proc/self/map_files/{place}").st_mode & stat.S_IWUSR)

def show():
    print(writes_no_file(maps, may_write))

file = tempfile.TemporaryFile()
file.write(b"a" * mmap.PAGESIZE)
file.flush()
show()
read = os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
of_others = mmap.mmap(read, 0, access=mmap.ACCESS_READ)
show()
private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
show()
protected = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
show()
protected.close()
show()
written = mmap.mmap(file.fileno(), 0)
show()
"""


def test_memory_that_is_shared_with_a_file_is_known() -> None:
    """Only if its file was opened for writing; if the kernel cannot be asked, the list is read."""
    version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    can_be_asked = str(version >= SINCE)
    assert done.stdout.split() == [*[can_be_asked] * 3, "False", can_be_asked, "False"]
