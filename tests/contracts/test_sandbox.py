"""The contract of Sandbox: what a command sees, what is left of it, how it ends."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from berth.core.errors import StorageError
from berth.core.exec.sandbox import FILES_AT, Outcome, SandboxRun
from berth.launch.private_folder import short_path
from support.clients.polling import wait_until
from support.measuring.processes import processes_with
from support.sandboxes.opened import Opened, Ran


def test_a_command_ends_with_its_output_and_exit_code(sandbox: Opened) -> None:
    """Both streams and the exit code are those of the command."""
    ran = sandbox.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (ran.result.outcome, ran.result.exit_code, ran.result.truncated) == (Outcome.EXIT, 3, False)
    assert (ran.stdout, ran.stderr) == (b"out\n", b"err\n")


def test_a_signal_shows_in_the_exit_code(sandbox: Opened) -> None:
    """A command that a signal ended has 128 and its number, as in shells."""
    assert sandbox.python("import os; os.kill(os.getpid(), 9)").result.exit_code == 137


@pytest.mark.parametrize(
    ("argv", "cwd", "code"),
    [
        (("no-such",), FILES_AT, 127),
        (("true",), f"{FILES_AT}/none", 126),
        (("/bin/" + "a" * 100_000,), FILES_AT, 127),
        (("true",), FILES_AT + 4 * ("/" + "a" * 250), 126),
    ],
    ids=["program", "folder", "long program", "long folder"],
)
def test_what_cannot_be_run_is_a_result(argv: tuple[str, ...], cwd: str, code: int, sandbox: Opened) -> None:
    """A program or a folder that does not exist is an exit code, and stderr names it."""
    ran = sandbox.run(*argv, cwd=cwd)
    # Programs that start others differ in what they say of a name that is too long: 126 or 127.
    expected = {126, code} if len(argv[0]) > 255 else {code}
    assert (ran.result.outcome, ran.result.exit_code in expected) == (Outcome.EXIT, True), ran
    assert (argv[0] if code == 127 else cwd).encode() in ran.stderr
    assert b"bwrap" not in ran.stderr


def test_what_a_command_wrote_stays_if_it_is_ended(sandbox: Opened) -> None:
    """What looks like an error of what starts commands is that of the command if it was running."""
    ran = sandbox.run("sh", "-c", "echo 'bwrap: execvp my own words' >&2; while :; do :; done", seconds=1.0)
    assert (ran.result.outcome, ran.stderr) == (Outcome.TIMEOUT, b"bwrap: execvp my own words\n")


@pytest.mark.parametrize("error", ["b", "bwrap: execvp x: no", "bwrap: execvp " + "x" * 2000])
def test_a_command_may_write_what_bwrap_writes(error: str, sandbox: Opened) -> None:
    """What looks like an error of what starts commands is passed on as it is, and comes before what follows."""
    ran = sandbox.run("sh", "-c", 'printf %s "$0" >&2; printf "\nmore" >&2; exit 3', error)
    assert (ran.result.exit_code, ran.stderr.decode()) == (3, f"{error}\nmore")


def test_a_command_gets_its_input_variables_and_folder(sandbox: Opened) -> None:
    """Input, also more than a pipe holds, environment and working folder are those that were given, and no others."""
    source = "import os, sys; print(len(sys.stdin.buffer.read()), os.getcwd(), os.environ['GIVEN'], len(os.environ))"
    ran = sandbox.python(
        source, stdin=bytes(300_000), cwd=f"{FILES_AT}/sub", env={"GIVEN": "a b"}, files={"sub/x": b"x"}
    )
    count, cwd, value = ran.stdout.split(maxsplit=2)
    assert (int(count), cwd) == (300_000, f"{FILES_AT}/sub".encode())
    assert value.startswith(b"a b ")
    assert int(value.split()[-1]) <= 7


def test_variables_mean_something_to_the_command_alone(sandbox: Opened) -> None:
    """Variables that shells have a use for, or refuse, reach the command as they were given."""
    given = {
        "ENV": "/none",
        "IFS": "a",
        "OPTIND": "x",
        "PPID": "y",
        "OLDPWD": "z",
        "SHLVL": "7",
        "PS4": "",
        "A": "=\n=",
    }
    ran = sandbox.python("import json, os; print(json.dumps(dict(os.environ)))", env={**given, "PWD": "/none"})
    found = json.loads(ran.stdout)
    assert {name: found.get(name) for name in given} == given
    assert found["PWD"] == FILES_AT


def test_a_program_whose_name_looks_like_a_variable_is_a_program(sandbox: Opened) -> None:
    """A program is never taken for a variable of the next argument."""
    assert sandbox.run("A=b", "true").result.exit_code == 127


def test_a_signal_to_the_whole_group_ends_no_command_that_catches_it(sandbox: Opened) -> None:
    """A command that catches the signal goes on, as does what started it."""
    ran = sandbox.run("sh", "-c", "trap 'echo caught' TERM; kill -TERM 0; kill -TERM 1; echo on")
    assert (ran.stdout, ran.stderr) == (b"caught\non\n", b"")


def test_no_output_makes_a_command_one_that_was_not_started(sandbox: Opened) -> None:
    """The words and exit codes of what starts a sandbox mean nothing if the command has them."""
    ran = sandbox.run("sh", "-c", "echo x > f; echo 'running container: x' >&2; exit 128")
    assert (ran.result.exit_code, ran.changed) == (128, {"f": b"x\n"})


def test_files_get_no_attributes(sandbox: Opened) -> None:
    """What the file system of the host keeps beside a file is not measured, so there is none."""
    source = (
        "import os, shutil\nfor path in ('kept.txt', '.', '/tmp/new'):\n open('/tmp/new', 'w').close()\n"
        " try: os.setxattr(path, 'user.name', b'x' * 1000)\n except OSError: print('refused')\n"
        "shutil.copy2('kept.txt', 'copy')"
    )
    ran = sandbox.python(source)
    assert (ran.stdout, ran.changed) == (b"refused\n" * 3, {"copy": b"kept"}), ran


def test_python_has_its_standard_library(sandbox: Opened) -> None:
    """The interpreter of Berth is there, with modules that are compiled, and threads and processes work."""
    source = (
        "import sqlite3, ssl, ctypes, zlib, multiprocessing as m, asyncio\n"
        "with m.Pool(2) as p: print(p.map(abs, [-1, -2]), asyncio.run(asyncio.sleep(0, 'a')), m.Value('i', 5).value)"
    )
    ran = sandbox.python(source)
    assert ran.stdout == b"[1, 2] a 5\n", ran.stderr


def test_changes_are_exactly_what_changed(sandbox: Opened) -> None:
    """New, modified and deleted files are told apart, and what was only touched or read is not among them."""
    files = {"same": b"s", "touched": b"t", "changed": b"c", "gone": b"g", "d/deep/x": b"x", "d/y": b"y", "r/old": b"r"}
    command = (
        "cat same; touch touched; chmod 755 touched; echo >>changed; rm gone; rm -r d; mkdir d; echo z>d/z;"
        "mkdir -p n/m; echo n>n/m/new; mv r/old r/new; echo same>kept.txt; printf kept>kept.txt"
    )
    ran = sandbox.run("sh", "-ec", command, files=files)
    assert ran.changed == {"changed": b"c\n", "d/z": b"z\n", "n/m/new": b"n\n", "r/new": b"r"}
    assert ran.deleted == {"gone", "d/deep/x", "d/y", "r/old"}
    assert ran.skipped == {}


def test_a_file_and_a_folder_may_take_each_others_place(sandbox: Opened) -> None:
    """What was beneath a folder is deleted if a file has its name, and the other way round."""
    ran = sandbox.run(
        "sh", "-ec", "rm -r d; echo f>d; rm kept.txt; mkdir kept.txt; echo>kept.txt/x", files={"d/x": b"x"}
    )
    assert ran.changed == {"d": b"f\n", "kept.txt/x": b"\n"}
    assert ran.deleted == {"d/x", "kept.txt"}


def test_a_folder_that_was_there_can_be_renamed(sandbox: Opened) -> None:
    """Programs need not copy it, as an overlay would have it; its files are new ones, and those of before are gone."""
    ran = sandbox.python(
        "import os\nos.rename('a', 'z')\nos.rename('c/d', 'e')", files={"a/b": b"1", "c/d/f": b"2", "c/g": b"3"}
    )
    assert ran.result.exit_code == 0, ran.stderr
    assert (ran.changed, ran.deleted) == ({"z/b": b"1", "e/f": b"2"}, {"a/b", "c/d/f"})


def test_content_of_linked_blobs_stays_as_it_is(sandbox: Opened) -> None:
    """A file that is a link to a blob is changed for the container only."""
    command = sandbox.command("sh", "-c", "echo changed > linked")
    blob = command.files.parent / "blob"
    blob.write_bytes(b"shared")
    os.link(blob, command.files / "linked")
    owner = blob.stat().st_uid
    assert sandbox.wait(sandbox.ran(command)).changed == {"linked": b"changed\n"}
    assert (blob.read_bytes(), blob.stat().st_uid, (command.files / "linked").read_bytes()) == (
        b"shared",
        owner,
        b"shared",
    )


def test_what_a_command_made_unreadable_is_read_and_can_be_removed(sandbox: Opened) -> None:
    """Rights that a command takes away hide nothing, and the folder has no traces of how it was made."""
    command = sandbox.command("sh", "-c", "mkdir d; echo x>d/x; chmod 000 d/x d")
    assert sandbox.wait(sandbox.ran(command)).changed == {"d/x": b"x\n"}
    assert [path.name for path in command.changes.iterdir()] == ["d"]


@pytest.mark.parametrize("mode", ["000", "200", "400"])
def test_a_command_may_close_its_own_folder(mode: str, sandbox: Opened) -> None:
    """It ends as others do, and its changes are read."""
    ran = sandbox.run("sh", "-c", f"echo x > x; rm kept.txt; chmod {mode} . && exit 3")
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXIT, 3)
    assert (ran.changed, ran.deleted) == ({"x": b"x\n"}, {"kept.txt"})


def test_output_comes_while_the_command_runs(sandbox: Opened) -> None:
    """The first line is there before the command, which waits for its end, has ended."""

    async def until_cancelled() -> tuple[bytes, Outcome]:
        async with sandbox.sandbox.run(sandbox.command("sh", "-c", "echo first; sleep 60")) as run:
            first = await anext(aiter(run.output()))
            await run.cancel()
            return first.data, (await run.result()).outcome

    assert sandbox.wait(until_cancelled()) == (b"first\n", Outcome.CANCELLED)


def test_leaving_the_context_ends_the_command(sandbox: Opened) -> None:
    """A caller that loses interest leaves no process."""
    mark = os.urandom(8).hex()

    async def leave() -> None:
        async with sandbox.sandbox.run(sandbox.command("sh", "-c", f"echo; sleep 60; : {mark}", mark=mark)) as run:
            await anext(aiter(run.output()))
            assert processes_with(mark)

    sandbox.wait(leave())
    assert processes_with(mark) == []


def test_a_proxy_is_the_only_way_out(sandbox: Opened) -> None:
    """The variables for proxies lead to the socket that was given, and it gets what the command sends."""
    command = sandbox.command("python3", "-c", _FETCH)
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nfrom outside")
        writer.close()

    async def fetch() -> Ran:
        path = command.files.parent / "proxy"
        async with await asyncio.start_unix_server(answer, path):
            return await sandbox.ran(replace(command, proxy=path))

    ran = sandbox.wait(fetch())
    assert ran.stdout == b"from outside [Errno 101] Network is unreachable\n", ran.stderr
    assert received[0].startswith(b"GET http://example.com/ HTTP/1.1\r\n")


def test_connections_to_the_proxy_do_not_wait_for_one_another(sandbox: Opened) -> None:
    """One that is not read from stops no other, answers pass after the end of a request, and the path may be long."""
    command = sandbox.command("python3", "-c", _TWO)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first == b"a":
            writer.write(bytes(8 << 20))
        else:
            writer.write(first + await reader.read())
        await writer.drain()
        writer.close()

    async def fetch() -> Ran:
        path = command.files.parent / ("long" * 30) / "proxy"
        path.parent.mkdir()
        with short_path(path) as name:
            server = await asyncio.start_unix_server(answer, name)
        async with server:
            return await sandbox.ran(replace(command, proxy=path))

    ran = sandbox.wait(fetch())
    assert ran.stdout == b"second 8388608\n", ran.stderr


_TWO = """
import socket
slow, quick = (socket.create_connection(("127.0.0.1", 3128), 10) for _ in range(2))
slow.sendall(b"a")
slow.recv(1, socket.MSG_PEEK)
quick.sendall(b"second")
quick.shutdown(socket.SHUT_WR)
print(quick.makefile().read(), len(slow.makefile("rb").read()))
"""
_FETCH = """
import socket, sys, urllib.request
assert sys.stdin.read() == ""
answer = urllib.request.urlopen("http://example.com/").read().decode()
try:
    socket.create_connection(("192.0.2.1", 80), 1)
except OSError as error:
    print(answer, error)
"""


def test_commands_run_beside_one_another(sandbox: Opened) -> None:
    """Two commands that wait for each other's time both end, each with its own files."""

    async def both() -> list[dict[str, bytes]]:
        commands = [sandbox.command("sh", "-c", f"sleep 0.3; echo {number} > mine") for number in range(4)]
        return [ran.changed for ran in await asyncio.gather(*map(sandbox.ran, commands))]

    assert sandbox.wait(both()) == [{"mine": f"{number}\n".encode()} for number in range(4)]


def test_a_sandbox_that_cannot_be_made_is_an_error(sandbox: Opened) -> None:
    """A folder that does not exist is an error of Berth's storage, not a result of the command."""
    command = sandbox.command("true")
    (command.files / "kept.txt").unlink()
    command.files.rmdir()
    with pytest.raises(StorageError):
        sandbox.wait(sandbox.ran(command))


def test_a_killed_supervisor_loses_the_command(sandbox: Opened) -> None:
    """The command ends with the process that watches it, and its outcome is unknown."""
    mark = os.urandom(8).hex()

    async def kill(run: SandboxRun) -> None:
        await anext(aiter(run.output()))
        for pid in {parent_of(pid) for pid in bwraps(mark)} - set(bwraps(mark)):
            os.kill(pid, 9)

    ran = sandbox.wait(sandbox.ran(sandbox.command("sh", "-c", f"echo; sleep 60; : {mark}", mark=mark), kill))
    assert ran.result.outcome == Outcome.LOST
    wait_until(lambda: not processes_with(mark), seconds=20)


def parent_of(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def bwraps(mark: str) -> list[int]:
    """Return the processes of bwrap that run a command with `mark`."""
    return sorted({*processes_with(mark)} & {*processes_with("bwrap")})


FORKS = """
import os, subprocess, time
kept = [list(range(1000)) for _ in range(1000)]
until = time.monotonic() + 3
for _ in range(24):
  if os.fork() == 0:
    while time.monotonic() < until: subprocess.run(["true"], preexec_fn=int)
    os._exit(0)
for _ in range(24): os.wait()
"""


def test_programs_that_start_others_all_the_time_run(sandbox: Opened) -> None:
    """What the kernel shows of a process has to wait while it forks; 24 that do nothing else are within the limits."""
    ran = sandbox.python(FORKS, seconds=60, processes=100, memory_bytes=1 << 30, disk_bytes=1 << 40)
    assert (ran.result.outcome, ran.result.exit_code, ran.stderr) == (Outcome.EXIT, 0, b"")
