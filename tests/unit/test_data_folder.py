"""The data folder and the key that is kept in it."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.launch.data_folder import claimed
from berth.launch.kept_secrets import direct_secret, first_key, read_first_key
from berth.launch.private_folder import private_folder, short_path
from berth.launch.refusal import StartError
from support.sandboxes.trees import make_deep


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


def test_a_folder_that_cannot_be_created_is_refused() -> None:
    """As on a read-only file system: one line names the setting, the folder and the reason."""
    with pytest.raises(StartError, match=r"^data_dir: cannot use the folder /proc/berth: No such file or directory$"):
        take(Path("/proc/berth"))


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


def test_the_folder_of_a_killed_process_may_be_a_deep_tree(tmp_path: Path) -> None:
    """What a command of a killed process has made, however deep, neither stays nor keeps the next one from starting."""
    make_deep(tmp_path / "run-dead", 1500)
    with private_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_a_socket_may_be_deep_in_folders(tmp_path: Path) -> None:
    """A socket with a path that is longer than the kernel allows is bound and connected through a short one."""
    path = tmp_path / ("a" * 100) / ("100%25 日本" * 5) / "socket"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client, short_path(path) as short:
        server.bind(short)
        server.listen()
        client.connect(short)
    assert path.is_socket()


def take(folder: Path) -> None:
    with claimed(folder):
        pass


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o2777])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """They could plant a key or a link in it; the message has the setting, the mode and the way out."""
    tmp_path.chmod(mode)
    with pytest.raises(StartError, match=rf"^data_dir: the folder .* \(mode {mode:04o}\); .* a new folder in it$"):
        take(tmp_path)
    assert list(tmp_path.iterdir()) == []
    take(tmp_path / "below")


def test_a_folder_of_a_group_is_used_if_it_was_made_for_it(tmp_path: Path) -> None:
    """A volume of Kubernetes with fsGroup is writable for a group of the process, and so are its files."""
    tmp_path.chmod(0o2770)
    with claimed(tmp_path):
        key = first_key(tmp_path)
    for name in ("first-key", "lock"):
        (tmp_path / name).chmod(0o660)
    with claimed(tmp_path):
        assert first_key(tmp_path) == key
    (tmp_path / "first-key").chmod(0o664)
    with pytest.raises(StartError, match=r"first-key: other users can access it \(mode 0664\)$"):
        first_key(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner could change everything in it, even if Berth runs as root."""
    os.chown(tmp_path, 54321, os.getegid())
    with pytest.raises(StartError, match=r"it belongs to the user 54321, and this process runs as user 0$"):
        take(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """A key that another user has made is not used."""
    first_key(tmp_path)
    os.chown(tmp_path / "first-key", 54321, os.getegid())
    with pytest.raises(StartError, match=r"first-key: it belongs to the user 54321$"):
        first_key(tmp_path)


@pytest.mark.parametrize(("name", "use"), [("lock", take), ("first-key", first_key), ("direct-secret", direct_secret)])
@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (lambda path: path.symlink_to(path.with_name("victim")), "it is a symbolic link"),
        (lambda path: path.symlink_to(path.with_name("missing")), "it is a symbolic link"),
        (os.mkfifo, "it is not a regular file"),
        (
            lambda path: (path.write_text("sk-bf-planted"), path.chmod(0o644)),
            r"other users can access it \(mode 0644\)",
        ),
        (
            lambda path: (path.write_text("sk-bf-planted"), path.chmod(0o620)),
            r"other users can access it \(mode 0620\)",
        ),
    ],
)
def test_what_was_planted_is_refused(
    tmp_path: Path, name: str, use: Callable[[Path], object], plant: Callable[[Path], object], reason: str
) -> None:
    """A link is not followed, a pipe not waited for, and a file that others can access not used."""
    (tmp_path / "victim").write_text("sk-bf-victim")
    plant(tmp_path / name)
    with pytest.raises(StartError, match=rf"^data_dir: .*{name}: {reason}$"):
        use(tmp_path)
    assert (tmp_path / "victim").read_text() == "sk-bf-victim"
    assert not (tmp_path / "missing").exists()


def test_a_huge_secret_is_refused(tmp_path: Path) -> None:
    """It is not read to its end."""
    for name in ("first-key", "direct-secret"):
        (tmp_path / name).touch(mode=0o600)
        os.truncate(tmp_path / name, 600_000_000)
    for use in (first_key, read_first_key, direct_secret):
        with pytest.raises(StartError, match=r"^data_dir: .* it has more than 1048576 bytes$"):
            use(tmp_path)


def test_an_empty_direct_secret_is_refused(tmp_path: Path) -> None:
    """With an empty secret everybody could compute the tenants of others."""
    (tmp_path / "direct-secret").touch(mode=0o600)
    with pytest.raises(StartError, match=r"^data_dir: .*direct-secret is empty"):
        direct_secret(tmp_path)
