"""How `berth` begins and ends: at any signal, as the first process of a container, without streams or terminal."""

import contextlib
import os
import pty
import shlex
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from berth.launch.private_folder import PREFIX
from support.clients.polling import wait_until
from support.measuring.processes import children_of, is_alive, open_files
from support.servers.berth import START_SECONDS, STOP_SECONDS, environment
from support.servers.empty_database import put_empty_database
from support.servers.process import free_ports
from support.servers.starting import command

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc")
needs_namespaces = pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode != 0,
    reason="this user cannot make a namespace of processes",
)


def arguments(name: str, folder: Path) -> list[str]:
    return command(name, "--data-dir", str(folder), *free_ports(name))


def prepared(folder: Path) -> Path:
    """Return the data folder in `folder`, with an empty database: to create one takes long."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    put_empty_database(data / "berth.db")
    return data


@contextlib.contextmanager
def started(*inside: str, stderr: int | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process, and kill it in the end."""
    with subprocess.Popen(inside, stdout=subprocess.PIPE, stderr=stderr, env=environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def handles(process: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal, or keeps the signal until it has one."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt", "SigBlk"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def is_python(process: int) -> bool:
    """Return whether a process runs Python yet: before, `unshare` blocks signals for a moment that the kernel drops."""
    return "python" in Path(f"/proc/{process}/exe").readlink().name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_modules_are_loaded_ends_it_with_success(tmp_path: Path, number: signal.Signals) -> None:
    """From the moment at which Python runs Berth, the exit code is 0, and nothing was written."""
    with started(*arguments("serve", tmp_path / "data")) as process:
        wait_until(lambda: handles(process.pid, signal.SIGTERM))
        process.send_signal(number)
        assert process.wait(STOP_SECONDS) == 0
    assert not (tmp_path / "data").exists()


INTERRUPTS = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
"""
"""Sends what Ctrl-C sends while modules are loaded."""


def test_ctrl_c_while_a_command_is_loaded_shows_no_error(tmp_path: Path) -> None:
    """A command that is interrupted before it runs ends as one that runs, without a traceback."""
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTS)
    ended = subprocess.run(
        command("containers", "list"),
        env={**environment(), "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=START_SECONDS,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_signal_at_the_end_changes_nothing(tmp_path: Path) -> None:
    """From the first SIGTERM until the process is gone, no other signal is left to the system, which would kill it."""
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    with started(*arguments("up", prepared(tmp_path))) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        seen: list[tuple[bool, ...]] = []
        deadline = time.monotonic() + STOP_SECONDS
        while "\nState:\tZ" not in (status := Path(f"/proc/{process.pid}/status").read_text()):
            lines = [line.split() for line in status.splitlines() if line.startswith(("SigCgt", "SigIgn", "SigBlk"))]
            masks = [int(mask, 16) for _, mask in lines]
            if any(masks):  # none is left in a process that is about to be gone
                seen.append(tuple(any(mask >> (number - 1) & 1 for mask in masks) for number in watched))
            assert time.monotonic() < deadline, "it does not end"
            time.sleep(0.001)
        assert set(seen) == {(True, True, True)}
        assert process.wait(STOP_SECONDS) == 0


def test_a_signal_during_a_migration_ends_it_with_success(tmp_path: Path) -> None:
    """A migration that takes long, here because another process locks the database, delays the end for a second."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with contextlib.closing(sqlite3.connect(folder / "berth.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with started(*arguments("serve", folder)) as process:
            wait_until(lambda: any("berth.db" in file.name for file in open_files(process.pid)))
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0


@needs_namespaces
def test_the_first_process_of_a_container_handles_every_signal(tmp_path: Path) -> None:
    """The kernel would drop a SIGTERM that is not handled yet, and `docker stop` would have to kill it."""
    with started(*CONTAINER, *arguments("up", tmp_path / "data")) as process:
        wait_until(lambda: bool(children_of(process.pid)))
        (first,) = children_of(process.pid)
        wait_until(lambda: is_python(first) and handles(first, signal.SIGTERM))
        os.kill(first, signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


@needs_namespaces
def test_the_first_process_of_a_container_reaps_its_children(tmp_path: Path) -> None:
    """A process whose parent has ended is not left as a zombie, and SIGTERM ends Berth with its Envoy."""
    folder = prepared(tmp_path)
    with started(*CONTAINER, *arguments("up", folder)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"event":"ready"')
        (first,) = children_of(process.pid)
        (berth,) = children_of(first)
        entering = ("nsenter", "--target", str(first), "--pid", "sh", "-c", "sleep 0.01 & echo started")
        subprocess.run(entering, capture_output=True, check=True, timeout=START_SECONDS)
        wait_until(lambda: children_of(first) == [berth])
        os.kill(first, signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    assert list(folder.glob(f"{PREFIX}*")) == []


def test_closed_streams_are_no_problem(tmp_path: Path) -> None:
    """`berth up` works without stdin, stdout and stderr, and none of its files gets the number of one of them."""
    folder = prepared(tmp_path)
    shell = f"exec {shlex.join(arguments('up', folder))} <&- >&- 2>&-"
    with started("sh", "-c", shell) as process:
        wait_until((folder / "replace").exists)
        assert [str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in range(3)] == [os.devnull] * 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0


def test_stdout_without_a_reader_is_no_problem(tmp_path: Path) -> None:
    """The log says in one line that nobody has read the ready line."""
    quiet = ("env", "BERTH_EXEC__DRIVER=off")  # otherwise another line may say why no sandbox works here
    with started(*quiet, *arguments("serve", prepared(tmp_path)), stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b'"ready.unread"' in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
        assert process.stderr.read() == b""


def test_a_reload_during_the_start_waits(tmp_path: Path) -> None:
    """SIGHUP as soon as Python runs Berth, and again and again, does not end it; it starts, and reloads."""
    with started("setsid", *arguments("serve", prepared(tmp_path)), stderr=subprocess.PIPE) as process:
        wait_until(lambda: handles(process.pid, signal.SIGHUP))
        process.send_signal(signal.SIGHUP)
        assert process.stdout is not None
        with ThreadPoolExecutor(1) as pool:
            line = pool.submit(process.stdout.readline)
            while not line.done():
                process.send_signal(signal.SIGHUP)
                wait([line], 0.05)
        assert b"ready" in line.result()
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
        assert process.stderr is not None
        assert b"auth.reloaded" in process.stderr.read()


def test_a_closed_terminal_ends_it_with_its_children(tmp_path: Path) -> None:
    """SIGHUP reloads the callers while the terminal is there, and ends Berth when it was closed."""
    folder = prepared(tmp_path)
    terminal, inner = pty.openpty()
    program = ["setsid", "--ctty", *arguments("up", folder)]
    with subprocess.Popen(program, stdin=inner, stdout=inner, stderr=inner, env=environment()) as process:
        os.close(inner)
        wait_until((folder / "replace").exists)
        envoys = children_of(process.pid)
        process.send_signal(signal.SIGHUP)
        shown = b""
        while b"auth.reloaded" not in shown:
            shown += os.read(terminal, 4096)
        os.close(terminal)
        assert process.wait(STOP_SECONDS) == 0
    assert envoys
    assert not any(map(is_alive, envoys))
    assert list(folder.glob(f"{PREFIX}*")) == []
