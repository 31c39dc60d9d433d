"""Which folder of cgroups is taken for commands, and why no other one, in trees of files like those of the kernel."""

import os
from pathlib import Path

import pytest

from berth.adapters.sandbox.cgroups import LEAF, find_cgroups
from berth.app.execs import build_sandbox
from berth.config import Config


class Machine:
    """A /proc and a mounted folder of cgroups v2, which say that Berth is in the group `own` with other processes."""

    def __init__(self, folder: Path, own: str, *, controllers: str = "cpu memory pids", root: str = "/") -> None:
        self.proc, self.mount = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "cgroup").write_text(f"1:cpu:/\n0::{own}\n")
        mounts = ["25 1 0:22 / /proc rw - proc proc rw", f"30 1 0:26 {root} {self.mount} rw - cgroup2 cgroup rw"]
        (self.proc / "self" / "mountinfo").write_text("\n".join(mounts))
        for group in {"/", own.removeprefix(root)}:
            self.make(self.mount / group.strip("/"), controllers)

    @staticmethod
    def make(folder: Path, controllers: str = "cpu memory pids") -> Path:
        """Make the files of a group that is not the first one of the machine."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {"controllers": controllers, "subtree_control": "", "procs": "", "type": "domain\n"}.items():
            (folder / f"cgroup.{name}").write_text(text)
        return folder


@pytest.mark.parametrize(
    ("own", "root"), [("/", "/"), (f"/{LEAF}", "/"), ("/docker/1", "/docker/1"), (f"/docker/1/{LEAF}", "/docker/1")]
)
def test_all_that_a_container_has_is_taken(own: str, root: str, tmp_path: Path) -> None:
    """It is the topmost group that Berth sees, also if Berth has divided it before."""
    machine = Machine(tmp_path, own, root=root)
    assert find_cgroups("auto", machine.proc).folder == machine.mount


def test_what_systemd_delegates_is_taken(tmp_path: Path) -> None:
    """The mark on the group of a unit says so, whatever rights Berth has."""
    machine = Machine(tmp_path, "/system.slice/berth.service")
    unit = machine.mount / "system.slice" / "berth.service"
    try:
        os.setxattr(unit, "user.delegate", b"1")
    except OSError:
        pytest.skip("the file system of the tests has no extended attributes, with which systemd marks a group")
    found = find_cgroups("auto", machine.proc)
    assert (found.folder, found.reason) == (unit, "")


def test_only_what_is_delegated_is_taken(tmp_path: Path) -> None:
    """That root may write to a group does not make it Berth's, and the first group of a machine is never taken."""
    for name, own in (("unit", "/system.slice/ssh.service"), ("machine", "/")):
        machine = Machine(tmp_path / name, own)
        (machine.mount / "cgroup.type").unlink()
        found = find_cgroups("auto", machine.proc)
        place = machine.mount / own.strip("/")
        assert (found.folder, found.reason) == (None, f"the cgroup of Berth, {place}, is not delegated to it")


def test_a_controller_for_memory_is_needed(tmp_path: Path) -> None:
    """Where others have it, as with cgroups v1, the reason names what there is."""
    machine = Machine(tmp_path, "/", controllers="hugetlb")
    assert find_cgroups("auto", machine.proc).reason == f"{machine.mount} has no controller `memory`; it has: hugetlb"


def test_a_machine_without_cgroups_is_recognized(tmp_path: Path) -> None:
    """Neither a missing /proc nor one without cgroups v2 is an error."""
    assert find_cgroups("auto", tmp_path).reason == "there are no cgroups v2"


def test_no_folder_is_looked_for_if_that_is_off(tmp_path: Path) -> None:
    """A folder that could be used stays as it is."""
    machine = Machine(tmp_path, "/")
    assert find_cgroups("off", machine.proc).reason == "exec.cgroup is off"
    assert (machine.mount / "cgroup.subtree_control").read_text() == ""


def test_a_folder_that_is_named_is_taken(tmp_path: Path) -> None:
    """The operator decides, and knows whose it is."""
    machine = Machine(tmp_path, "/system.slice/ssh.service")
    folder = machine.make(machine.mount / "berth")
    (machine.mount / "cgroup.procs").touch()
    assert find_cgroups(folder, machine.proc).folder == folder
    assert (folder / "cgroup.subtree_control").read_text() == "+cpu"  # the last one: each is written by itself


def test_commands_are_off_if_a_folder_that_is_named_cannot_be_used(tmp_path: Path) -> None:
    """The reason names the setting and the folder; a watch is not taken instead."""
    reason = build_sandbox(Config.model_validate({"exec": {"cgroup": str(tmp_path)}}), tmp_path)
    assert reason in {
        f"exec.cgroup: {tmp_path} is no folder of cgroups v2",
        "exec.cgroup: there are no cgroups v2",
    }
