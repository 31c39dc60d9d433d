"""How the watch of a sandbox finds what changes while it looks, on files that are written as the kernel writes them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from berth.adapters.sandbox.process.session.freezer import Freezer
from berth.adapters.sandbox.process.watch import proc as watched
from berth.adapters.sandbox.process.watch import waiting
from berth.adapters.sandbox.process.watch.forks import Forks
from berth.adapters.sandbox.process.watch.proc import LookEndedError, Proc, TooMuchError

MEBIBYTE = 1 << 20
STAT = "{id} (a b) {state} {parent} 7 7 0 -1 {flags} 100 0 0 0 0 0 0 0 20 0 1 0 1000 4096 300 0\n"


@contextmanager
def opened_proc(folder: Path, is_over: Callable[[], bool] = lambda: False) -> Iterator[Proc]:
    """Open a folder like the /proc of a sandbox, and begin to look at it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    proc = Proc(descriptor, is_over)
    proc.look()
    yield proc
    os.close(descriptor)


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Proc]:
    """Return the /proc in a folder."""
    with opened_proc(tmp_path) as proc:
        yield proc


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


def read_slowly(proc: Proc, folder: Path) -> None:
    """Read something of which the kernel puts off the answer, until the wait is long."""
    os.mkfifo(folder / "maps")

    def write() -> None:
        with (folder / "maps").open("w") as pipe:
            time.sleep(0.2)
            pipe.write("at last")

    writer = threading.Thread(target=write)
    writer.start()
    assert proc.read("maps") == b"at last"
    writer.join()


@pytest.mark.parametrize(("most", "is_over", "gone"), [(0.1, False, 0), (60.0, True, 0), (60.0, False, MEBIBYTE)])
def test_what_cannot_be_read_for_long_ends_a_look(
    *, most: float, is_over: bool, gone: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it takes too long, if there is something else to do, or if the machine loses memory or room meanwhile."""
    left = count(1 << 30, -gone)
    monkeypatch.setattr(waiting, "_LONG_SECONDS", 60.0 if is_over else 0.05)
    monkeypatch.setattr(waiting, "_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "_MAX_SECONDS", most)
    with opened_proc(tmp_path, lambda: is_over) as proc:
        proc.look([(lambda: next(left), 3 * MEBIBYTE)])
        read_slowly(proc, tmp_path)
        with pytest.raises(LookEndedError if is_over else TooMuchError):
            [proc.read("maps.not") for _ in range(4)]
        proc.look()
        assert proc.names(".") == ["maps"]


def test_a_long_wait_need_not_end_a_look(proc: Proc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the machine has memory and room, a program whose processes start others all the time goes on."""
    monkeypatch.setattr(waiting, "_LONG_SECONDS", 0.05)
    measures = waiting.available_bytes, partial(waiting.free_bytes, proc.descriptor)
    assert all(measure() > MEBIBYTE for measure in measures)
    proc.look([(measure, 1 << 40) for measure in measures])
    read_slowly(proc, tmp_path)
    assert [proc.names(".") for _ in range(3)] == [["maps"]] * 3


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
