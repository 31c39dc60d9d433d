"""`berth files download` from a server that says strange things, or goes away: a file is there whole or not at all."""

import signal
from pathlib import Path

import pytest

from support.clients.commands import Shell, sending, until
from support.servers.berth import START_SECONDS


@pytest.mark.parametrize(
    ("name", "kept"),
    [("../../x", "x"), ("/etc/cron.d/x", "x"), ("..", "file-1"), (".profile", "_profile"), ("..\\x", "x")],
)
def test_a_server_does_not_choose_the_folder(tmp_path: Path, name: str, kept: str) -> None:
    """Whatever it says that a file is called, the file comes to lie in the working directory, where all see it."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    quoted = name.replace("\\", "\\\\")
    with sending(headers={"content-disposition": f'attachment; filename="{quoted}"'}) as sender:
        Shell(folder, {"BERTH_SERVER": sender.address}).ask("files", "download", "file-1")
    assert [path.relative_to(folder) for path in tmp_path.rglob("*") if path.is_file()] == [Path(kept)]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"x-content-sha256": "0" * 64}, "its SHA-256 differs from the one that the server sent"),
        ({"x-content-length": "6"}, "5 of 6 bytes were received"),
    ],
)
def test_a_damaged_download_leaves_nothing(tmp_path: Path, header: dict[str, str], reason: str) -> None:
    """What came is compared with what the server says of it; what is not that is no file."""
    with sending(headers=header) as sender:
        shell = Shell(tmp_path, {"BERTH_SERVER": sender.address})
        answer = shell.run("files", "download", "file-1")
        undamaged = Shell(tmp_path, {"BERTH_SERVER": sender.address}).run("files", "download", "file-1", "-o", "-")
    assert answer == (1, "", f"berth: the download is damaged: {reason}\n")
    assert undamaged == (1, "hello", f"berth: the download is damaged: {reason}\n")
    assert shell.files() == []


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (None, 1)]
)
def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path, number: int | None, status: int) -> None:
    """Neither Ctrl-C, nor a polite end, nor a hangup, nor a server that goes away leaves a part of the file."""
    with sending(holds=True) as sender:
        shell = Shell(tmp_path, {"BERTH_SERVER": sender.address})
        process = shell.start("files", "download", "file-1", "-o", "x")
        until(shell.files)
        if number is not None:
            process.send_signal(number)
            assert process.wait(START_SECONDS) == status
    output, errors = process.communicate(timeout=START_SECONDS)
    assert (process.returncode, output) == (status, b"")
    assert (errors == b"") is (number is not None)
    assert b"Traceback" not in errors
    assert shell.files() == []
