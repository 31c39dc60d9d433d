"""`berth files` beside a running Berth: files go up and come down, whole or not at all, in little memory."""

import hashlib
import json
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from support.clients.commands import Shell
from support.measuring.memory import MEBIBYTE
from support.servers.berth import KEY_A, START_SECONDS, Berth, environment
from support.servers.starting import command

ID = re.compile(r"(file-[0-9a-f]{24}|cfile_[0-9a-f]{32})\n")
LARGE_MEBIBYTES = 64
BOUND_MEBIBYTES = 24
SMALL = b"hello\n"
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def shell(berth: Berth, tmp_path: Path) -> Shell:
    (tmp_path / "a.txt").write_bytes(SMALL)
    return Shell(tmp_path, {"BERTH_SERVER": berth.grpc, "BERTH_KEY": KEY_A})


@pytest.fixture
def file(shell: Shell) -> str:
    """Return the id of a file in no container, named a.txt, which is not in the working directory any more."""
    made = shell.ask("files", "upload", "a.txt")
    (shell.folder / "a.txt").unlink()
    return made.strip()


def cells(line: str) -> list[str]:
    return re.split(r"  +", line)


def test_files_of_the_files_api(shell: Shell) -> None:
    """Sent, listed, shown, fetched under their own names, and deleted."""
    (shell.folder / "b.json").write_bytes(b"[]")
    made = shell.ask("files", "upload", "a.txt", "b.json", "--purpose", "evals", "--expires-after", "7d")
    first, second = made.split()
    assert all(ID.fullmatch(f"{one}\n") for one in (first, second))
    headings, *rows = map(cells, shell.ask("files", "list", "--purpose", "evals", "--limit", "2").splitlines())
    assert headings == ["ID", "SIZE", "CREATED", "EXPIRES", "PURPOSE", "FILENAME"]
    assert [(row[0], row[1], row[4], row[5]) for row in rows] == [
        (second, "2 bytes", "evals", "b.json"),
        (first, "6 bytes", "evals", "a.txt"),
    ]
    shown = json.loads(shell.ask("files", "show", first, "--json"))
    assert shown["expires_at"] - shown["created_at"] == 7 * 86_400
    assert shown["bytes"] == 6
    (shell.folder / "a.txt").unlink()
    assert shell.ask("files", "download", first) == ""
    assert (shell.folder / "a.txt").read_bytes() == SMALL
    assert shell.ask("files", "delete", first, second) == ""
    assert shell.run("files", "download", first) == (1, "", f"berth: File {first} not found.\n")


def test_files_in_a_container(shell: Shell, container: str, client: httpx2.Client, file: str) -> None:
    """Sent to a place, copied from the Files API, listed, fetched and deleted: --container makes it the container's."""
    inside = ("--container", container)
    (shell.folder / "notes.md").write_bytes(b"# Notes")
    sent = shell.ask("files", "upload", "notes.md", *inside, "--path", "/mnt/data/x/notes.md").strip()
    copied = shell.ask("files", "copy", file, *inside, "--path", "copy.txt").strip()
    headings, *rows = map(cells, shell.ask("files", "list", *inside).splitlines())
    assert headings == ["ID", "SIZE", "CREATED", "SOURCE", "PATH"]
    assert {(row[0], row[4]) for row in rows} == {(sent, "/mnt/data/x/notes.md"), (copied, "/mnt/data/copy.txt")}
    content = client.get(f"/v1/containers/{container}/files/{sent}/content")
    assert (content.content, content.headers["content-type"]) == (b"# Notes", "text/markdown")
    assert shell.ask("files", "download", copied, *inside, "-o", "-") == SMALL.decode()
    shown = dict(map(cells, shell.ask("files", "show", sent, *inside).splitlines()))
    assert (shown["SIZE"], shown["CONTAINER ID"]) == ("7 bytes", container)
    assert shell.ask("files", "delete", sent, copied, *inside) == ""
    assert client.get(f"/v1/containers/{container}/files").json()["data"] == []


def test_pipes(shell: Shell) -> None:
    """What comes from stdin is stored under a name, and goes to stdout as it is, empty files too."""
    for content in (bytes(range(256)) * 4096, b""):
        made = shell.ask("files", "upload", "-", "--name", "data.bin", stdin=content).strip()
        with shell.start("files", "download", made, "-o", "-") as process:
            output, errors = process.communicate()
        assert (process.returncode, output, errors) == (0, content, b"")


def test_stdout_that_is_full(shell: Shell, file: str) -> None:
    """A disk under stdout that is full is an error in one line; a reader who has had enough is none."""
    with (
        Path("/dev/full").open("wb") as full,
        shell.start("files", "download", file, "-o", "-", stdout=full) as process,
    ):
        _, errors = process.communicate()
    assert (process.returncode, errors) == (1, b"berth: -: No space left on device\n")
    large = shell.ask("files", "upload", "-", "--name", "x", stdin=bytes(MEBIBYTE)).strip()
    with shell.start("files", "download", large, "-o", "-") as process:
        assert process.stdout
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""


def test_one_upload_does_not_keep_others(shell: Shell) -> None:
    """What cannot be read, or is refused, is told by its name, and the others are stored."""
    (shell.folder / "b.txt").write_bytes(b"b")
    (shell.folder / "x\n.txt").write_bytes(b"bad name")
    status, output, errors = shell.run("files", "upload", "a.txt", "nowhere", "x\n.txt", "b.txt")
    assert status == 1
    assert [json.loads(shell.ask("files", "show", one, "--json"))["filename"] for one in output.split()] == [
        "a.txt",
        "b.txt",
    ]
    first, second = errors.splitlines()
    assert first == "berth: nowhere: No such file or directory"
    assert second.startswith("berth: x\\n.txt: Invalid 'filename'")


@pytest.mark.parametrize("verb", ["upload", "delete"])
def test_what_would_befall_all_is_told_once(shell: Shell, verb: str) -> None:
    """Where the key is wrong, or nobody answers, the rest is not tried."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        for variable, reason in ({"BERTH_KEY": "sk-bf-wrong"}, "key"), ({"BERTH_SERVER": address}, "no answer from"):
            wrong = Shell(shell.folder, {**shell.variables, **variable})
            status, output, errors = wrong.run("files", verb, "a.txt", "a.txt", "a.txt")
            assert (status, output, errors.count("\n")) == (1, "", 1)
            assert reason in errors


def test_a_name_of_any_bytes(shell: Shell) -> None:
    """What is no UTF-8 is sent under a readable name, or refused where it must be exact; a poor terminal shows it."""
    (shell.folder / os.fsdecode(b"\xff\xc3\xa4.txt")).write_bytes(SMALL)
    made = shell.ask("files", "upload", os.fsdecode(b"\xff\xc3\xa4.txt")).strip()
    poor = Shell(shell.folder, {**shell.variables, "PYTHONIOENCODING": "iso8859-5"})
    assert "\\ufffd\\xe4.txt" in poor.ask("files", "show", made)
    assert shell.run("files", "show", os.fsdecode(b"\xff")) == (2, "", "berth: an argument is not valid UTF-8\n")


def test_what_is_there_is_not_replaced(shell: Shell, file: str) -> None:
    """A file stays as it is without --force; --output names another file, or a folder."""
    (shell.folder / "a.txt").write_bytes(b"mine")
    status, output, errors = shell.run("files", "download", file)
    assert (status, output) == (1, "")
    assert errors.startswith("berth: a.txt: exists already; use --force")
    assert (shell.folder / "a.txt").read_bytes() == b"mine"
    (shell.folder / "below").mkdir()
    for options in (("--force",), ("-o", "b.txt"), ("-o", "below")):
        shell.ask("files", "download", file, *options)
    assert {(shell.folder / name).read_bytes() for name in ("a.txt", "b.txt", "below/a.txt")} == {SMALL}
    assert shell.files() == ["a.txt", "b.txt"]


def test_a_full_disk(shell: Shell, client: httpx2.Client) -> None:
    """A download that finds no room says which file it is, and leaves nothing."""
    file = client.post("/v1/files?purpose=user_data&filename=big.bin", content=bytes(4 * MEBIBYTE)).json()["id"]

    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEBIBYTE, usual[1]))  # the command inherits it
    try:
        process = shell.start("files", "download", file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    with process:
        output, errors = process.communicate(timeout=START_SECONDS)
    assert (process.returncode, output, errors) == (1, b"", b"berth: big.bin: File too large\n")
    assert shell.files() == ["a.txt"]


def test_an_upload_that_is_stopped_stores_nothing(shell: Shell, client: httpx2.Client) -> None:
    """Ctrl-C ends it with 130 and without a word, also while it waits for stdin, and no file was made."""
    before = client.get("/v1/files").json()["data"]
    process = shell.start("files", "upload", "-", "--name", "x", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(bytes(4 * MEBIBYTE))  # more than a pipe holds: it is at it
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait(START_SECONDS) == 130
    assert process.communicate() == (b"", b"")
    assert client.get("/v1/files").json()["data"] == before


def test_a_refusal_does_not_wait_for_stdin(shell: Shell) -> None:
    """Who has the wrong key is told so, and not only when everything is typed."""
    process = shell.start("files", "upload", "-", "--name", "x", "--key", "sk-bf-wrong", stdin=subprocess.PIPE)
    assert process.wait(START_SECONDS) == 1
    _, errors = process.communicate()
    assert errors.startswith(b"berth: virtual key not found.")


def test_a_large_file_in_little_memory(shell: Shell, container: str) -> None:
    """64 MiB go up and come down unchanged, with at most 24 MiB more memory than a few bytes take."""
    large = shell.folder / "large.bin"
    digest = hashlib.sha256()
    with large.open("wb") as out:
        for _ in range(LARGE_MEBIBYTES):
            piece = os.urandom(MEBIBYTE)
            digest.update(piece)
            out.write(piece)
    inside = ("--container", container)
    small, little_up = _measured(shell, "files", "upload", "a.txt", *inside)
    made, up = _measured(shell, "files", "upload", "large.bin", *inside)
    _, little_down = _measured(shell, "files", "download", small, *inside, "-o", "small.bin")
    _, down = _measured(shell, "files", "download", made, *inside, "-o", "back.bin")
    with (shell.folder / "back.bin").open("rb") as back:
        assert hashlib.file_digest(back, "sha256").digest() == digest.digest()
    assert max(up - little_up, down - little_down) <= BOUND_MEBIBYTES


def test_a_terminal_sees_the_progress(shell: Shell) -> None:
    """A bar with the name and the size goes to stderr, if that is a terminal; stdout has the id alone."""
    name = "b\x1b[7J.txt"
    (shell.folder / name).write_bytes(SMALL)
    for arguments, printed in ((("upload", name, "--name", "b.txt"), ID), (("upload", "a.txt"), ID)):
        made, seen = _at_a_terminal(shell, *arguments)
        assert printed.fullmatch(made)
        assert "6/6 bytes" in seen
    _, seen = _at_a_terminal(shell, "download", made.strip(), "-o", f"new-{name}")
    assert "new-b\\x1b[7J.txt" in seen
    assert "\x1b[7J" not in seen


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        (("upload", "nowhere"), 1, "nowhere: No such file or directory"),
        (("upload", "."), 1, ".: Is a directory"),
        (("upload", "-"), 2, "--name: required for a file from stdin"),
        (("upload", "a.txt", "b", "--name", "x"), 2, "--name: only for one file at a time"),
        (("upload", "a.txt", "--path", "x"), 2, "--path: only files in a container have one"),
        (("upload", "a.txt", "--container", "x", "--purpose", "batch"), 2, "--purpose: files in a container have none"),
        (("upload", "a.txt", "--expires-after", "soon"), 2, "--expires-after: must be a duration"),
        (("upload", "a.txt", "--expires-after", "1s"), 1, "expires_after.seconds"),
        (("download", "x", "--container", "cntr_x"), 1, "cntr_x not found."),
        (("copy", "x"), 2, "--container"),
    ],
)
def test_what_cannot_be_is_refused(shell: Shell, arguments: tuple[str, ...], status: int, reason: str) -> None:
    """With a reason, the exit code of whoever refuses, and nothing on stdout."""
    code, output, errors = shell.run("files", *arguments)
    assert (code, output) == (status, "")
    assert reason in errors
    assert shell.files() == ["a.txt"]


def _at_a_terminal(shell: Shell, *arguments: str) -> tuple[str, str]:
    """Run a command that must succeed with a terminal as its stderr; return what is on stdout, and there."""
    ours, theirs = pty.openpty()
    with shell.start("files", *arguments, stderr=theirs) as process:
        output, _ = process.communicate(timeout=START_SECONDS)
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert process.returncode == 0, seen
    return output.decode(), seen


def _measured(shell: Shell, *arguments: str) -> tuple[str, float]:
    """Run a command; return what it prints, and how much memory it took at its peak, in MiB.

    A small program starts it: what is counted for a process begins with the memory of the one that started it.
    """
    program = [sys.executable, "-c", MEASURED, *command(*arguments)]
    variables = {**environment(), **shell.variables}
    done = subprocess.run(program, cwd=shell.folder, env=variables, capture_output=True, check=True, timeout=60)
    return done.stdout.decode().strip(), int(done.stderr) / 1024
