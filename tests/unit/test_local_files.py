"""Where downloads come to lie: never elsewhere, never over something, never half."""

from pathlib import Path

import pytest

from berth.client.errors import ClientError
from berth.client.local_files import landing, safe_name, source_of
from berth.client.text import shown


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("notes.txt", "notes.txt"),
        ("日本 (1).csv", "日本 (1).csv"),
        ("../../x", "x"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\x.exe", "x.exe"),
        ("C:\\Windows\\x", "x"),
        ("..", ""),
        (".", ""),
        ("", ""),
        ("a/", ""),
        ("a/..", ""),
        (".bashrc", "_bashrc"),
        ("-rf", "_rf"),
        ("a\nb\x1b[2Jc\0", "a_b_[2Jc_"),
        ("exe.\u202etxt", "exe._txt"),
        ("ä" * 200, "ä" * 127),
    ],
)
def test_a_name_of_somebody_else_is_made_safe(told: str, kept: str) -> None:
    """No folder, nothing hidden, nothing that a terminal or a program takes for a command, at most 255 bytes."""
    assert safe_name(told) == kept


def test_what_cannot_be_seen_is_spelled_out() -> None:
    """Escapes, line ends and what turns text around reach no terminal."""
    assert shown("a\x1b[31m\n\u202e\x9b日") == "a\\x1b[31m\\n\\u202e\\x9b日"


def test_a_file_lands_whole(tmp_path: Path) -> None:
    """It is not there before its last byte, and nothing else is there afterwards."""
    target = tmp_path / "x"
    with landing(target, force=False) as file:
        file.write(b"hello")
        assert not target.exists()
    assert target.read_bytes() == b"hello"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_what_breaks_off_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """Whatever the reason: neither the file nor a part of it."""

    def break_off() -> None:
        with landing(tmp_path / "x", force=False) as file:
            file.write(b"hel")
            raise error

    with pytest.raises(error):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A file is replaced with `force` alone, also one that came during the download, and a broken link counts."""
    target, link = tmp_path / "x", tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")

    def land(place: Path) -> None:
        with landing(place, force=False) as file:
            file.write(b"new")
            target.write_bytes(b"old")

    for place in (target, link):
        with pytest.raises(ClientError, match="exists already"):
            land(place)
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [link, target]
    with landing(target, force=True) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    """`force` is for files."""
    with pytest.raises(ClientError, match="not a regular file"), landing(tmp_path, force=True):
        pass
    assert tmp_path.is_dir()


def test_a_source_knows_its_size(tmp_path: Path) -> None:
    """A file comes in pieces of 256 KiB."""
    (tmp_path / "x").write_bytes(bytes(600_000))
    source = source_of(str(tmp_path / "x"))
    assert source.size == 600_000
    assert [len(piece) for piece in source.pieces] == [262_144, 262_144, 75_712]
