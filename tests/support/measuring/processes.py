"""What the kernel says of processes; one that has ended meanwhile has no children and is not alive."""

from contextlib import suppress
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started and not reaped."""
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def descendants_of(pid: int) -> list[int]:
    """Return the process `pid` and all below it."""
    return [pid, *(below for child in children_of(pid) for below in descendants_of(child))]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended, and is not reaped yet, does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def open_files(pid: int) -> list[Path]:
    """Return the files that a process has open; one that it closes in the meantime is left out."""
    files = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            files.append(link.readlink())
    return files


def processes_with(mark: str) -> list[int]:
    """Return the processes of this machine with `mark` among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found
