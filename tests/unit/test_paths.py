"""Where files lie: what callers may ask for, and that nothing gets out of /mnt/data."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.core.paths import clean_filename, container_path

UNIQUE = "0" * 32


def placed(file_path: str | None, filename: str = "a.txt") -> str:
    return container_path(file_path, filename, unique=UNIQUE)


@pytest.mark.parametrize(
    ("file_path", "path"),
    [
        (None, f"/mnt/data/{UNIQUE}-a.txt"),
        ("a.txt", "/mnt/data/a.txt"),
        ("b/a.txt", "/mnt/data/b/a.txt"),
        ("/mnt/data/a.txt", "/mnt/data/a.txt"),
        ("//mnt//data/./b//a.txt", "/mnt/data/b/a.txt"),
        ("mnt/data/a.txt", "/mnt/data/mnt/data/a.txt"),
        ("港/名前.txt", "/mnt/data/港/名前.txt"),
        ("...", "/mnt/data/..."),
        ("a\\b", "/mnt/data/a\\b"),
        (" ", "/mnt/data/ "),
        ("x" * 255, f"/mnt/data/{'x' * 255}"),
        ("/mnt/data/" + "x/" * 506 + "ab", "/mnt/data/" + "x/" * 506 + "ab"),
    ],
)
def test_a_path_is_brought_into_normal_form(file_path: str | None, path: str) -> None:
    """A path is taken relative to /mnt/data or below it; without one a file gets a place of its own."""
    assert placed(file_path) == path


@pytest.mark.parametrize(
    ("file_path", "code"),
    [
        ("", "invalid_value"),
        (".", "invalid_value"),
        ("/", "invalid_value"),
        ("a/", "invalid_value"),
        ("..", "invalid_value"),
        ("a/../b", "invalid_value"),
        ("/mnt/data/../../etc/passwd", "invalid_value"),
        ("/mnt/data", "invalid_value"),
        ("/mnt/data/", "invalid_value"),
        ("/mnt/data2/a", "invalid_value"),
        ("/etc/passwd", "invalid_value"),
        ("a\0b", "invalid_value"),
        ("a\nb", "invalid_value"),
        ("a\ud800b", "invalid_value"),
        ("x" * 256, "string_above_max_length"),
        ("名" * 86, "string_above_max_length"),
        ("/mnt/data/" + "x/" * 506 + "abc", "string_above_max_length"),
        ("x/" * 512 + "y", "string_above_max_length"),
    ],
)
def test_a_path_is_refused(file_path: str, code: str) -> None:
    """What leaves /mnt/data, names no file, has control characters or is too long for a file system is refused."""
    with pytest.raises(InvalidRequestError) as caught:
        placed(file_path)
    assert (caught.value.param, caught.value.code) == ("file_path", code)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (None, "file"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        ("a/..", "file"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.txt", "a.txt"),
        ('a "quoted" name', 'a "quoted" name'),
        ("日本語.txt", "日本語.txt"),
        ("x" * 222, "x" * 222),
    ],
)
def test_a_filename_loses_its_folders(sent: str | None, name: str) -> None:
    """Only the last part of a name counts, on whatever system it was written."""
    assert clean_filename(sent) == name


@pytest.mark.parametrize(
    ("sent", "code"),
    [("x" * 223, "string_above_max_length"), ("名" * 75, "string_above_max_length"), ("a\r\nb", "invalid_value")],
)
def test_a_filename_is_refused(sent: str, code: str) -> None:
    """A name of more than 222 bytes or with control characters is refused, not mended."""
    with pytest.raises(InvalidRequestError) as caught:
        clean_filename(sent)
    assert (caught.value.param, caught.value.code) == ("filename", code)


def test_a_name_of_full_length_has_room_for_the_unique_digits() -> None:
    """The longest name there is fits into a single name of a file system, with what goes before it."""
    assert len(placed(None, clean_filename("x" * 222)).removeprefix("/mnt/data/")) == 255


anything = st.text() | st.lists(st.sampled_from(["..", ".", "", "a", "mnt", "data", "\0", "é", "\\"])).map("/".join)


@given(anything, anything)
@example("x/" * 506 + "ab", "")
def test_no_path_escapes_and_normal_form_is_final(file_path: str, filename: str) -> None:
    """Whatever is asked for: refused as a bad request, or a clean path below /mnt/data that stands for itself."""
    try:
        name = clean_filename(filename)
        path = placed(file_path, name)
    except InvalidRequestError:
        return
    assert path.startswith("/mnt/data/")
    assert not {"", ".", ".."} & set(path.removeprefix("/mnt/data/").split("/"))
    assert not [character for character in path if unicodedata.category(character) == "Cc"]
    assert placed(path) == path
    assert clean_filename(name) == name
    assert "/" not in name
