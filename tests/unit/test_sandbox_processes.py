"""What the watch of a sandbox makes of /proc, on files that are written as the kernel writes them; how they end."""

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from berth.adapters.sandbox import launcher
from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.watch.proc import Proc

USER = 65533
BEFORE_SIZE = "1 7 7 0 -1 4194560 100 0 0 0 0 0 0 0 20 0 1 0 1000"


@pytest.fixture
def proc(tmp_path: Path) -> Iterator[Proc]:
    """Return the /proc in a folder."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    proc = Proc(descriptor)
    proc.look()
    yield proc
    os.close(descriptor)


def put(folder: Path, thread: str, state: str, size: int) -> None:
    """Write what the kernel says of a thread."""
    (folder / "7" / "task" / thread).mkdir(parents=True)
    (folder / "7" / "task" / thread / "stat").write_text(f"{thread} (a) b) {state} {BEFORE_SIZE} {size} 300 0\n")


@pytest.mark.parametrize(
    ("state", "size", "has_ended"), [("R", 4096, False), ("D", 4096, False), ("R", 0, True), ("Z", 0, True)]
)
def test_a_thread_that_has_given_its_memory_back_has_ended(
    *, state: str, size: int, has_ended: bool, proc: Proc, tmp_path: Path
) -> None:
    """It may still be running for a moment, while what it had open cannot be seen any more."""
    put(tmp_path, "7", state, size)
    assert proc.has_ended("7/task/7") == proc.is_gone("7") == has_ended


def test_a_process_is_gone_with_its_last_thread(proc: Proc, tmp_path: Path) -> None:
    """One of which the first thread has ended is still there; one that is not found is gone."""
    put(tmp_path, "7", "Z", 0)
    put(tmp_path, "8", "S", 4096)
    assert proc.has_ended("7/task/7")
    assert not proc.is_gone("7")
    assert proc.is_gone("9")


@contextmanager
def running(source: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on the first processor that there is, from its first line of output on."""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
            yield process
        finally:
            process.kill()


def memory_of(process: int) -> int:
    """Return how much memory a process has, nothing if it has ended."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_large_process_need_not_wait_to_free_its_memory() -> None:
    """Its memory is free at once though another process has the processor."""
    large = "import signal; kept = bytes(range(256)) * (64 << 12); print('ready', flush=True); signal.pause()"
    busy = "print('ready', flush=True)\nwhile True: pass"
    with running(large) as process, running(busy):
        os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
        assert memory_of(process.pid) > 64 << 20
        handle = os.pidfd_open(process.pid)
        linux.end_all(process.pid, handle, 16 << 20)
        assert memory_of(process.pid) < 16 << 20
        os.close(handle)
    assert process.returncode == -signal.SIGKILL


def test_what_a_process_started_is_killed_with_it() -> None:
    """Nothing depends on the end of the first one, for which that may have to wait for the others."""
    fork = "import os, signal\nif all(os.fork() for _ in range(3)): os.write(1, b'ready\\n')\nsignal.pause()"
    with running(fork) as process:
        handle = os.pidfd_open(process.pid)
        linux.end_all(process.pid, handle, 1 << 30)
        os.close(handle)
        assert process.stdout is not None
        assert process.stdout.read() == b""  # which ends when the last of them has ended


def test_a_launcher_outlives_a_lack_of_processes() -> None:
    """If it may start no process, Berth hears that for each command."""
    limited = (
        f"import os, resource; os.getuid() or os.setuid({USER}); resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))"
    )
    program = launcher._PROGRAM.replace("main()", f"{limited}; main()")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arguments = [sys.executable, "-I", "-S", "-c", program, str(launcher._ROOT)]
    with theirs, subprocess.Popen(arguments, stdin=theirs.fileno()), ours:
        for _ in range(2):
            with requested(ours) as link:
                assert link.recv(1) == b"F"
                assert b"no process can be started" in link.recv(1000)


@contextmanager
def requested(requests: socket.socket) -> Iterator[socket.socket]:
    """Ask a launcher for a supervisor, which ends with the context; return the socket to it."""
    link, theirs = socket.socketpair()
    with link:
        with theirs:
            socket.send_fds(requests, [b"1"], [theirs.fileno()])
        yield link
