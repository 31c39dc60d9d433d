"""What is read of the changes of a command: regular files with ordinary names, beneath one folder, and nothing else."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from berth.adapters.sandbox.process import linux
from berth.core.exec.changes import ChangedFile, DeletedFile, SkippedFile
from berth.core.exec.sandbox import FILES_AT
from berth.core.exec.workspace import MAX_FOLDERS
from support.sandboxes.opened import Opened

HOSTILE = {
    "link": ("os.symlink('/etc/passwd', 'link')", "symbolic link"),
    "relative": ("os.symlink('../../../../etc/passwd', 'relative')", "symbolic link"),
    "folder-link": ("os.symlink('/etc', 'folder-link')", "symbolic link"),
    "process-link": ("os.symlink('/proc/self/root/etc', 'process-link')", "symbolic link"),
    "loop": ("os.symlink('loop', 'loop')", "symbolic link"),
    "kept.txt": ("os.unlink('kept.txt'); os.symlink('/etc/passwd', 'kept.txt')", "symbolic link"),
    "pipe": ("os.mkfifo('pipe')", "named pipe"),
    "socket": ("socket.socket(socket.AF_UNIX).bind('socket')", "socket"),
    "new\\x0aline": ("open('new\\nline', 'w')", "the name has control characters"),
    "\\x1b[31m": ("open('\\x1b[31m', 'w')", "the name has control characters"),
    "\\xff\\xfe": ("open(b'\\xff\\xfe', 'w')", "the name is not UTF-8"),
    "/".join(["n" * 250] * 5)[:1014] + "…": ("os.makedirs('/'.join(['n' * 250] * 5))", "the path is too long"),
}
OF_A_GUEST = frozenset({"pipe", "socket"})
"""What the kernel of a guest keeps for itself: outside there is nothing to skip."""


def test_only_regular_files_with_ordinary_names_are_taken(sandbox: Opened) -> None:
    """Each other entry is skipped with its reason, and content from outside is never among the changes."""
    source = "import os, socket\nopen('plain', 'w').write('p')\n" + "\n".join(code for code, _ in HOSTILE.values())
    ran = sandbox.python(source, entries=400)
    assert ran.result.exit_code == 0, ran.stderr
    hostile = {
        path: reason for path, (_, reason) in HOSTILE.items() if not sandbox.runs_guest or path not in OF_A_GUEST
    }
    assert {path: ran.skipped.get(path) for path in hostile} == hostile
    assert set(ran.changed) == {"plain"}
    assert ran.deleted == set()


def test_names_of_the_folders_of_berth_are_names_like_others(sandbox: Opened) -> None:
    """A command may find how its folder is called outside, if not in a guest, and use that name and those like it."""
    ran = sandbox.python(
        "import os, re\n"
        "found = re.findall(r'\\.(?:upper|work)-[0-9a-f]+', open('/proc/self/mountinfo').read())\n"
        "for name in {'.upper-0', *found}: os.mkdir(name); open(f'{name}/inner', 'w').write('1')\n"
        "print(len(set(found)))"
    )
    assert (int(ran.stdout) > 0) != sandbox.runs_guest, ran
    assert len(ran.changed) == int(ran.stdout) + 1
    assert set(ran.changed.values()) == {b"1"}


def test_a_deep_tree_can_be_renamed(sandbox: Opened) -> None:
    """Files in as many folders as a command may see are found where they are then, and not lost."""
    inner = "/".join(["d"] * (MAX_FOLDERS - 1))
    ran = sandbox.python("import os; os.rename('a', 'b')", files={f"a/{inner}/file": b"x"})
    assert (ran.result.exit_code, ran.skipped) == (0, {}), ran
    assert (ran.deleted, ran.changed) == ({f"a/{inner}/file"}, {f"b/{inner}/file": b"x"})


def test_a_mark_of_an_overlay_removes_nothing(sandbox: Opened) -> None:
    """A folder that a command would mark as one that replaces another has the files that it has."""
    mark = (
        "import errno, os; os.unlink('d/2')\n"
        "try: os.setxattr('d', 'user.overlay.opaque', b'y')\n"
        "except OSError as error: assert error.errno in (errno.EOPNOTSUPP, errno.ENOSYS)"
    )
    ran = sandbox.python(mark, files={"d/1": b"1", "d/2": b"2"})
    assert (ran.result.exit_code, ran.deleted, ran.changed) == (0, {"d/2"}, {}), ran


def test_entries_are_bounded_in_number(sandbox: Opened) -> None:
    """A folder with more entries than the limit gives as many, and says that there are more."""
    command = sandbox.command(
        "sh", "-c", "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo > $i; done", files={"a": b"a"}
    )
    sandbox.wait(sandbox.ran(command))
    changes = list(sandbox.sandbox.harvest(replace(command, limits=replace(command.limits, files=100))))
    assert len([change for change in changes if isinstance(change, ChangedFile)]) == 100
    assert changes[-1] == SkippedFile(".", "too many files")


def test_bytes_are_bounded(sandbox: Opened) -> None:
    """A file for which there is no room is skipped, also a sparse one; smaller ones after it are taken."""
    command = sandbox.command("sh", "-c", "truncate -s 5M large; echo 1 > small")
    sandbox.wait(sandbox.ran(command))
    changes = list(sandbox.sandbox.harvest(replace(command, limits=replace(command.limits, disk_bytes=1 << 20))))
    assert [change[:2] for change in changes] == [("large", "too large"), ("small", 2)]


def test_a_mount_is_not_entered(sandbox: Opened) -> None:
    """A folder on another file system is skipped."""
    if os.geteuid() != 0:
        pytest.skip("the foreign file system of this test has to be mounted, which only root can do")
    command = sandbox.command("sh", "-c", "mkdir m; echo x > y")
    sandbox.wait(sandbox.ran(command))

    def mounted() -> list[object]:
        linux.unshare_mounts()
        linux.mount_tmpfs(str(command.changes / "m"), "mode=0755")
        return [change[:2] for change in sandbox.sandbox.harvest(command)]

    with ThreadPoolExecutor(1) as thread:  # the file system is mounted for it alone
        assert thread.submit(mounted).result() == [("m", "on another file system"), ("y", 2)]


def test_a_folder_that_is_swapped_for_a_link_leads_nowhere(sandbox: Opened, tmp_path: Path) -> None:
    """Even if something still ran while the changes are read, no file outside would be taken for one of them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("of the host")
    command = sandbox.command("sh", "-c", "mkdir d; echo inside > d/file")
    sandbox.wait(sandbox.ran(command))
    with _swapping(command.changes / "d", outside) as swaps:
        contents = set()
        while len(swaps) < 2000:
            for change in sandbox.sandbox.harvest(command):
                if isinstance(change, ChangedFile):
                    contents.add(os.pread(change.descriptor, 100, 0))
    assert contents <= {b"inside\n"}


@contextmanager
def _swapping(folder: Path, target: Path) -> Iterator[list[None]]:
    """Exchange a folder and a link to `target` all the time; the list grows with each exchange."""
    link, kept = folder.with_name("link"), folder.with_name("kept")
    link.symlink_to(target)
    swaps: list[None] = []
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for old, new in ((folder, kept), (link, folder), (folder, link), (kept, folder)):
                old.rename(new)
            swaps.append(None)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield swaps
    finally:
        is_over.set()
        thread.join()


def test_a_deleted_folder_deletes_its_files(sandbox: Opened) -> None:
    """Each file beneath is named, however deep."""
    ran = sandbox.run("rm", "-r", f"{FILES_AT}/a", files={"a/b/c/d": b"1", "a/e": b"2"})
    assert (ran.deleted, ran.changed) == ({"a/b/c/d", "a/e"}, {})


def test_the_kinds_of_changes_are_told_apart(sandbox: Opened) -> None:
    """A change is one of three kinds, and its descriptor is closed when the next is asked for."""
    command = sandbox.command("sh", "-c", "rm kept.txt; echo 1 > new; ln -s new skipped")
    sandbox.wait(sandbox.ran(command))
    changes = list(sandbox.sandbox.harvest(command))
    assert list(map(type, changes)) == [DeletedFile, ChangedFile, SkippedFile]
    descriptor = next(change.descriptor for change in changes if isinstance(change, ChangedFile))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
