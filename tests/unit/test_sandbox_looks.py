"""How the watch of a sandbox finds what changes while it looks, on files that are written as the kernel writes them."""

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count, product
from pathlib import Path
from queue import Queue

import pytest

from berth.adapters.sandbox.process.session.freezer import Freezer
from berth.adapters.sandbox.process.watch import proc as watched
from berth.adapters.sandbox.process.watch import waiting
from berth.adapters.sandbox.process.watch.forks import Forks
from berth.adapters.sandbox.process.watch.looks import Looks
from berth.adapters.sandbox.process.watch.proc import Proc, TooMuchError
from berth.adapters.sandbox.process.watch.waiting import Left, Waiting
from berth.adapters.sandbox.process.watch.watch import Watch
from support.clients.polling import wait_until

MEBIBYTE = 1 << 20
STAT = "{id} (a b) {state} {parent} 7 7 0 -1 {flags} 100 0 0 0 0 0 0 0 20 0 1 0 1000 4096 300 0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Proc]:
    """Return a folder like the /proc of a sandbox; a look at it has begun."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    proc = Proc(descriptor)
    proc.look()
    yield proc
    os.close(descriptor)


def put(folder: Path, process: str, *, state: str = "S", parent: int = 1, flags: int = 0, syscall: str = "0") -> None:
    """Write what the kernel says of a process with one thread."""
    for place in (folder / process, folder / process / "task" / process):
        place.mkdir(parents=True, exist_ok=True)
        (place / "stat").write_text(STAT.format(id=process, state=state, parent=parent, flags=flags))
        (place / "syscall").write_text(syscall)


def test_a_process_that_starts_during_a_look_is_seen(proc: Proc, tmp_path: Path) -> None:
    """A process may leave its memory to a new one, and end, as soon as it is found."""
    (tmp_path / "7").mkdir()
    found = []
    for name in proc.processes():
        found.append(name)
        if name != "20":
            (tmp_path / name).rename(tmp_path / str(int(name) + 1))
    assert found == [str(number) for number in range(7, 21)]


def test_processes_at_rest_are_listed_once(proc: Proc, tmp_path: Path) -> None:
    """None of them can start another one, and a second list would double the time that each program waits for."""
    (tmp_path / "7").mkdir()
    proc.is_at_rest, found = True, []
    for name in proc.processes():
        found.append(name)
        (tmp_path / "8").mkdir()
    assert found == ["7"]


def test_a_thread_that_starts_during_a_look_is_seen(proc: Proc, tmp_path: Path) -> None:
    """So may the last thread of a process."""
    put(tmp_path, "7", state="Z")
    names = count(8)
    found = []
    for place in proc.places("7"):
        found.append(place)
        if len(found) < 4:
            (tmp_path / "7" / "task" / str(next(names))).mkdir()
    assert sorted(found) == sorted(["7", *(f"7/task/{thread}" for thread in range(7, 11))])


def test_processes_that_start_faster_than_they_can_be_seen_are_too_many(
    proc: Proc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look has an end, and what was not seen until then exceeds the limit."""
    monkeypatch.setattr(watched, "_LOOK_SECONDS", 0.02)
    proc.look()
    (tmp_path / "7").mkdir()

    def look() -> None:
        for name in proc.processes():
            (tmp_path / name).rename(tmp_path / str(int(name) + 1))

    with pytest.raises(TooMuchError):
        look()


@contextmanager
def waiting_look(folder: Path, left: list[Left], how_many: int) -> Iterator[Waiting]:
    """Return how long a thread waits that reads something of which the kernel puts off the answer."""
    os.mkfifo(folder / "maps")
    begun = Queue[Waiting]()

    def look() -> None:
        begun.put(Waiting(left, lambda: how_many))
        (folder / "maps").read_bytes()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(look)
        yield begun.get()
        (folder / "maps").write_bytes(b"at last")


@pytest.mark.parametrize(("most", "how_many", "gone"), [(0.1, 1, 0), (60.0, 65, 0), (60.0, 1, MEBIBYTE)])
def test_a_look_may_wait_too_long(
    *, most: float, how_many: int, gone: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any case after a while, before if there are many processes, or the machine loses memory or room."""
    left = count(1 << 30, -gone)
    monkeypatch.setattr(waiting, "_LONG_SECONDS", 0.05)
    monkeypatch.setattr(waiting, "_MAX_SECONDS", most)
    with waiting_look(tmp_path, [(lambda: next(left), 3 * MEBIBYTE)], how_many) as look:
        wait_until(look.is_too_long)


def test_a_long_wait_need_not_end_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the machine has memory and room, a program whose processes start others all the time goes on."""
    monkeypatch.setattr(waiting, "_LONG_SECONDS", 0.0)
    folder = os.open(tmp_path, os.O_RDONLY)
    measures = waiting.available_bytes, partial(waiting.free_bytes, folder)
    assert all(measure() > MEBIBYTE for measure in measures)
    with waiting_look(tmp_path, [(measure, 1 << 40) for measure in measures], 64) as look:
        wait_until(lambda: look._has_waited(0.2))
        assert not look.is_too_long()
    os.close(folder)


def test_a_wait_for_another_thread_does_not_count(tmp_path: Path) -> None:
    """As long as the first thread of the process runs, or has no processor, the look may only have waited for that."""
    with waiting_look(tmp_path, [], 1) as look:
        wait_until(lambda: look._has_waited(0.0))
        most = time.monotonic() - look._begun + 0.2
        until = time.thread_time() + 0.4
        while time.thread_time() < until:
            assert not look._has_waited(most)


def test_what_a_look_finds_is_returned_once() -> None:
    """Nothing is known while it goes on, also not what the one before has found; its end can be waited for."""
    answers = Queue[str | None]()
    looks = Looks(answers.get)
    try:
        assert looks.found() is None
        for answer in ("disk", "memory"):
            looks.begin()
            assert looks.is_looking
            assert not looks.has_ended_within(0)
            assert looks.found() is None
            answers.put(answer)
            assert looks.has_ended_within(10)
            assert looks.is_looking  # until what it has found is known
            assert looks.found() == answer
            assert (looks.found(), looks.is_looking) == (None, False)
    finally:
        os.close(looks.descriptor)


def test_a_look_needs_no_further_thread() -> None:
    """A command may use up all that Berth may start: what watches it is there before."""
    before = set(threading.enumerate())
    looks = Looks(lambda: None)
    own = set(threading.enumerate()) - before
    assert len(own) == 1, own
    looks.begin()
    assert looks.has_ended_within(10)
    assert set(threading.enumerate()) - before == own
    os.close(looks.descriptor)


@contextmanager
def watched_process(root: Path, **limits: int) -> Iterator[tuple[Watch, int]]:
    """Watch a process that sees the folders of a sandbox in `root`; return where it may write, too."""
    for name in ("proc", "tmp", "dev/shm", "written"):
        (root / name).mkdir(parents=True)
    source = f"import os, signal; os.chroot({os.fspath(root)!r}); os.write(1, b'x'); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"x"
        top = os.open(root / "written", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield Watch(process.pid, limits, top, runs_guest=False), top
        finally:
            os.close(top)
            process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a process another root")
def test_looks_and_their_supervisor_list_folders_independently(tmp_path: Path) -> None:
    """A list of an open folder moves a position that all copies of the descriptor have: others would miss entries."""
    with watched_process(tmp_path, memory_bytes=1 << 60, disk_bytes=1 << 60, files=2999) as (watch, top):
        for folder, name in product(("proc", "written"), range(3000)):
            (tmp_path / folder / f"entry-{name}").touch()
        assert watch.proc is not None
        with os.scandir(watch.proc) as processes, os.scandir(top) as entries:
            names = [[next(listed).name] for listed in (processes, entries)]  # and as much as is read at once
            watch.begin_look()
            assert select.select([watch.descriptor], [], [], 10)[0]
            assert watch.found() == "disk"
            for found, listed in zip(names, (processes, entries), strict=True):
                found.extend(entry.name for entry in listed)
                assert len(found) == len(set(found)) == 3000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a process another root")
def test_what_cannot_be_looked_at_in_time_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is found while the disk is looked at: nothing says that the command has written too much."""
    with watched_process(tmp_path, memory_bytes=1 << 60, disk_bytes=1 << 60, files=10) as (watch, _):
        put(tmp_path / "proc", "7")
        assert watch.proc is not None

        def look_at_disk() -> None:
            monkeypatch.setattr(watched, "_LOOK_SECONDS", -1.0)
            watch._begin()

        monkeypatch.setattr(watch._disk, "_begin", look_at_disk)
        watch.begin_look()
        assert select.select([watch.descriptor], [], [], 10)[0]
        assert watch.found() == "memory"


def test_the_end_of_a_look_can_be_waited_for() -> None:
    """A supervisor waits for it beside what its command writes."""
    looks = Looks(lambda: "memory")
    try:
        looks.begin()
        assert select.select([looks.descriptor], [], [], 10)[0]
        assert looks.found() == "memory"
        assert not select.select([looks.descriptor], [], [], 0)[0]
    finally:
        os.close(looks.descriptor)


@pytest.mark.parametrize("flags", [0, 0x40])
def test_forks_inside_one_another_are_too_many(proc: Proc, tmp_path: Path, flags: int) -> None:
    """100 processes that fork one another have 5000 ties for each mapping; those that begin a program have none."""
    parents = {str(number): str(number - 1) for number in range(2, 102)}
    for name, parent in parents.items():
        put(tmp_path, name, parent=int(parent), flags=flags if name != "2" else 0)
    forks = Forks(proc)
    forks.check(parents, dict.fromkeys(parents, 200), is_complete=True)
    if not flags:
        forks.check(parents, dict.fromkeys(parents, 300), is_complete=True)
        return
    assert [name for name in parents if forks.is_deep(name)] == [str(number) for number in range(10, 102)]
    with pytest.raises(TooMuchError):
        forks.check(parents, dict.fromkeys(parents, 300), is_complete=True)
    newest = {name: parents[name] for name in list(parents)[50:]}
    with pytest.raises(TooMuchError):
        forks.check(newest, dict.fromkeys(newest, 300), is_complete=False)


def test_forks_of_orphans_are_remembered(proc: Proc, tmp_path: Path) -> None:
    """A process of which the parent ends is made by as many forks as before; a new one, by as many as there may be."""
    parents = {"2": "1", "3": "2", **{str(number): "3" for number in range(10, 110)}}
    for name, parent in parents.items():
        put(tmp_path, name, parent=int(parent), flags=0 if name == "2" else 0x40)
    mappings = dict.fromkeys(parents, 1000)
    known, new = Forks(proc), Forks(proc)
    known.check(parents, mappings, is_complete=True)
    orphans = {name: "1" if parent == "3" else parent for name, parent in parents.items() if name != "3"}
    known.check(orphans, mappings, is_complete=True)
    with pytest.raises(TooMuchError):
        new.check(orphans, mappings, is_complete=True)


def test_an_open_file_that_gets_another_number_is_seen(proc: Proc, tmp_path: Path) -> None:
    """A program may change the number of an open file after the numbers have been listed."""
    folder = tmp_path / "7" / "fd"
    folder.mkdir(parents=True)
    for name in ("3", "4"):
        (folder / name).write_text(name)
    found = {}
    for name, info in proc.open_files("7"):
        found[name] = info.st_ino
        for other in {"3", "4"} - found.keys():
            if (folder / other).exists():
                (folder / other).rename(folder / "9")
    assert found.keys() in ({"3", "9"}, {"4", "9"})


def test_memory_that_a_process_lends_is_known(proc: Proc, tmp_path: Path) -> None:
    """The thread that waits in vfork is found, for the process that it started and for no other one."""
    number = "58" if watched._VFORK else "220 0x4111"
    put(tmp_path, "5", syscall=f"{number} 0x0 0x0")
    (tmp_path / "5" / "task" / "5" / "children").write_text("7 ")
    put(tmp_path, "7", parent=5, flags=0x40)
    put(tmp_path, "8", parent=5, flags=0x40)
    put(tmp_path, "9", parent=5)
    assert [proc.lender(name) for name in ("7", "8", "9", "10")] == ["5/task/5", None, None, None]


def test_a_process_that_waits_for_something_else_lends_nothing(proc: Proc, tmp_path: Path) -> None:
    """Its child has memory of its own."""
    put(tmp_path, "5", syscall="running")
    (tmp_path / "5" / "task" / "5" / "children").write_text("7 ")
    put(tmp_path, "7", parent=5, flags=0x40)
    assert proc.lender("7") is None


def test_a_session_is_not_at_rest_while_processes_come_and_go(tmp_path: Path) -> None:
    """A process that was listed and is gone may have started another one, so the session is not taken for stopped."""
    for name in ("1", "2"):
        put(tmp_path, name, state="T")
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert Freezer(descriptor).stop() is True
        (tmp_path / "7").mkdir()
        assert Freezer(descriptor).stop() is False
    finally:
        os.close(descriptor)
