"""The data folder and the key that is kept in it."""

import socket
import stat
from pathlib import Path

import pytest

from berth.launch.data_folder import claimed
from berth.launch.kept_secrets import first_key
from berth.launch.private_folder import private_folder, short_path
from berth.launch.refusal import StartError


def test_the_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Nobody else on the machine reads what Berth keeps."""
    folder = tmp_path / "new" / "data"
    with claimed(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    """A second claim is refused while the first holds, and granted afterwards."""
    with claimed(tmp_path), pytest.raises(StartError, match="in use by another Berth"), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A path that leads to a file is refused by the name of the setting."""
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"^data_dir: .* is not a folder$"), claimed(tmp_path / "file"):
        pass


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """The first call makes a key of 48 hexadecimal digits, the later ones read it; another folder has another."""
    key = first_key(tmp_path)
    assert key.startswith("sk-bf-")
    assert len(bytes.fromhex(key.removeprefix("sk-bf-"))) == 24
    assert first_key(tmp_path) == key
    other = tmp_path / "other"
    other.mkdir()
    assert first_key(other) != key


def test_only_the_owner_reads_the_key(tmp_path: Path) -> None:
    """The file has mode 0600, and no other file with the key stays behind."""
    first_key(tmp_path)
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_start_that_was_cut_off_leaves_no_half_key(tmp_path: Path) -> None:
    """What an interrupted start left is made anew."""
    (tmp_path / "first-key.new").write_text("sk-bf-ha")
    assert len(first_key(tmp_path)) == 54


@pytest.mark.parametrize("content", [b"", b"password", b"\xff"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that holds something else lets nobody in by accident."""
    (tmp_path / "first-key").write_bytes(content)
    with pytest.raises(StartError, match=r"^data_dir: .*first-key"):
        first_key(tmp_path)


def test_private_folders_of_running_processes_stay(tmp_path: Path) -> None:
    """A new private folder removes those that no process has locked, and no others."""
    (tmp_path / "run-dead" / "secrets").mkdir(parents=True)
    with private_folder(tmp_path) as first:
        assert [path.name for path in tmp_path.iterdir()] == [first.name]
        with private_folder(tmp_path) as second:
            assert {*tmp_path.iterdir()} == {first, second}
    assert list(tmp_path.iterdir()) == []


def test_a_socket_may_be_deep_in_folders(tmp_path: Path) -> None:
    """A socket with a path that is longer than the kernel allows is bound and connected through a short one."""
    path = tmp_path / ("a" * 100) / ("100%25 日本" * 5) / "socket"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client, short_path(path) as short:
        server.bind(short)
        server.listen()
        client.connect(short)
    assert path.is_socket()
