"""Finds the folder of cgroups v2 in which Berth may make groups, and makes it ready for them.

The kernel lets controllers be used below a folder only if no process is in that folder itself, so those that are there
move to a group beside those of commands.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from berth.adapters.sandbox.process.cgroup import CONTROLLERS

AUTO, OFF = "auto", "off"
LEAF = "berth-service"
"""The group for Berth itself, in the folder that it shares with those of commands."""
_MARKS = ("user.delegate", "trusted.delegate")
"""What systemd sets on the groups of units with Delegate=."""
_NEEDED = "memory"
_TRIES = 20
"""How often processes are moved: some may start others meanwhile."""


@dataclass(slots=True)
class Delegated:
    """A folder for groups; None if there is none, for a `reason`. If it `is_required`, no command runs without it."""

    folder: Path | None
    reason: str = ""
    is_required: bool = False

    def give_up(self, reason: str) -> None:
        """Do without the folder, in which no command can be run after all."""
        self.folder, self.reason = None, reason


class _UnusableError(Exception):
    """A folder is no place for groups; the message says why."""


def find_cgroups(setting: str | Path, proc: Path = Path("/proc")) -> Delegated:
    """Return the folder that is delegated to this process, or the one that is named, ready for groups.

    `setting` is AUTO, OFF, or the path of a folder, which is then required.
    """
    if setting == OFF:
        return Delegated(None, "exec.cgroup is off")
    is_required = setting != AUTO
    try:
        own, top = _place(proc)
        folder = _named(Path(setting), own) if is_required else _delegated(own, top)
        _prepare(folder)
    except _UnusableError as error:
        return Delegated(None, f"exec.cgroup: {error}" if is_required else str(error), is_required)
    return Delegated(folder, is_required=is_required)


def _place(proc: Path) -> tuple[Path, Path]:
    """Return the folder of the group that this process is in, and the topmost one that it sees."""
    groups = _lines(proc / "self/cgroup")
    path = next((line.removeprefix("0::") for line in groups if line.startswith("0::/")), None)
    for root, mount in _mounts(proc):
        if path is not None and (path + "/").startswith(root.rstrip("/") + "/") and "/.." not in path:
            return Path(mount + path[len(root.rstrip("/")) :]), Path(mount)
    raise _UnusableError("there are no cgroups v2")


def _mounts(proc: Path) -> list[tuple[str, str]]:
    """Return what is mounted of cgroups v2, and where."""
    fields = [line.split(" ") for line in _lines(proc / "self/mountinfo")]
    return [(one[3], one[4]) for one in fields if one[one.index("-") + 1] == "cgroup2"]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _delegated(own: Path, top: Path) -> Path:
    """Return the folder that is this process's to divide: that of its group, or the one above, if Berth divided it."""
    for folder in (own, own.parent):
        if _is_delegated(folder, top):
            return folder
    raise _UnusableError(f"the cgroup of Berth, {own}, is not delegated to it")


def _is_delegated(folder: Path, top: Path) -> bool:
    """Return whether systemd says so, it is all that a container has, or its owner owns nothing above."""
    if any(_mark(folder, name) == b"1" for name in _MARKS):
        return True
    if folder == top:
        return (folder / "cgroup.type").exists()  # else it is that of the whole machine
    return os.geteuid() != 0 and os.access(folder, os.W_OK) and not os.access(folder.parent, os.W_OK)


def _mark(folder: Path, name: str) -> bytes:
    with suppress(OSError):
        return os.getxattr(folder, name)
    return b""


def _named(folder: Path, own: Path) -> Path:
    """Return a folder of cgroups that an operator named, if Berth can move commands from its own group there."""
    if not (folder / "cgroup.controllers").is_file():
        raise _UnusableError(f"{folder} is no folder of cgroups v2")
    folder = folder.resolve()
    shared = Path(os.path.commonpath([folder, own]))
    if not os.access(shared / "cgroup.procs", os.W_OK):
        raise _UnusableError(f"Berth runs in {own}, and may not move processes from there to {folder}")
    return folder


def _prepare(folder: Path) -> None:
    """Have groups in the folder bound by the controllers that it has."""
    try:
        found = _read(folder / "cgroup.controllers")
        if _NEEDED not in found:
            raise _UnusableError(f"{folder} has no controller `{_NEEDED}`; it has: {' '.join(found) or 'none'}")
        if not os.access(folder, os.W_OK):
            raise _UnusableError(f"{folder} is read-only for Berth")
        _enable(folder, [name for name in CONTROLLERS if name in found])
    except OSError as error:
        raise _UnusableError(f"{folder} cannot be used: {error.strerror}") from error


def _enable(folder: Path, names: list[str]) -> None:
    for name in names:
        try:
            _enable_one(folder, name)
        except OSError as error:
            if name == _NEEDED:
                reason = "processes that Berth cannot move are in it" if error.errno == errno.EBUSY else error.strerror
                raise _UnusableError(f"{folder} cannot be divided: {reason}") from error


def _enable_one(folder: Path, name: str) -> None:
    for number in range(_TRIES):
        if name in _read(folder / "cgroup.subtree_control"):
            return
        try:
            _write(folder / "cgroup.subtree_control", f"+{name}")
        except OSError as error:
            if error.errno != errno.EBUSY or number == _TRIES - 1:
                raise
            _move_all(folder, folder / LEAF)
        else:
            return


def _move_all(folder: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for process in _read(folder / "cgroup.procs"):
        with suppress(ProcessLookupError):
            if process != "0":  # one that is not visible here; as a target it would mean this process
                _write(target / "cgroup.procs", process)


def _read(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").split()


def _write(path: Path, value: str) -> None:
    with path.open("w", encoding="ascii") as file:
        file.write(value)
