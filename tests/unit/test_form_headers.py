"""What the headers of a form and of its parts say, and which of them say nothing clear."""

import time

import pytest

from berth.core.errors import InvalidRequestError
from support.forms.parts import form, outcome, part, read, refused

TOLD = 'name="file"; filename'


def named(disposition: str) -> str | None:
    return read(form(part(disposition))).filename


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (f"{TOLD}*=UTF-8''%e6%97%a5%E6%9C%AC.txt", "日本.txt"),
        (f"{TOLD}*=utf-8'en'a%22b%25.txt", 'a"b%.txt'),
        (f"{TOLD}*=UTF-8''it's(1)*.txt", "it's(1)*.txt"),
        (f"{TOLD}*=UTF-8''", ""),
        (f"{TOLD}=\"_.txt\"; filename*=UTF-8''%C3%BC.txt", "ü.txt"),
        (f"{TOLD}*=UTF-8''%C3%BC.txt; filename=_.txt", "ü.txt"),
        ("name=file; filename=\"=?utf-8?B?w7wudHh0?=\"; filename*=utf-8''%C3%BC.txt", "ü.txt"),
        (f"{TOLD}=\"a; filename*=UTF-8''b\"", "a; filename*=UTF-8''b"),
        (f'{TOLD}="a\\"; filename*=UTF-8\'\'b"', "a\"; filename*=UTF-8''b"),
        (f'{TOLD}="a\\"', "a\\"),
        (f"{TOLD}=a.txt;", "a.txt"),
        ('NAME="file" ; FileName = "a.txt"', "a.txt"),
        (f'{TOLD}="=?utf-8?B?w7wvw6QudHh0?="', "ü/ä.txt"),
        (f'{TOLD}="=?UTF-8?q?a_b=3D=C3=BC.txt?="', "a b=ü.txt"),
        (f'{TOLD}="=?utf-8?B?Pz8/Pz8/Pz8=?="', "????????"),
        (f'{TOLD}="=?utf-8?B?YWFh?= =?iso-8859-1?Q?=FC?="', "aaaü"),
        (f'{TOLD}="a =?utf-8?B?YWFh?="', "a =?utf-8?B?YWFh?="),
        (f'{TOLD}="a%22%0d%0Ab%41%25"', 'a"\r\nb%41%25'),
        (f'{TOLD}="C:\\dir\\a.txt"', "C:\\dir\\a.txt"),
        (f'{TOLD}="a\\\\b\\"c.txt"', 'a\\b"c.txt'),
        (f'{TOLD}="a;b=c.txt"', "a;b=c.txt"),
    ],
)
def test_the_exact_name_counts(disposition: str, name: str) -> None:
    """`filename*` is read as RFC 8187 has it, before any makeshift beside it, and not where it stands in quotes."""
    assert named(disposition) == name


@pytest.mark.parametrize(
    "written",
    ["iso-8859-1''%fc", "UTF-8''%zz", "UTF-8''%4", "UTF-8''%", "UTF-8''%ff", "plain", "\"UTF-8''a\"", ""],
)
def test_a_name_that_cannot_be_decoded_is_refused(written: str) -> None:
    """Another charset, and what is no percent-encoding, are refused by name: no file is kept under half a name."""
    assert refused(form(part(f"{TOLD}*={written}"))) == ("filename", "invalid_value")


def test_a_name_that_is_not_utf8_is_refused() -> None:
    """The raw form is UTF-8 as well, and the refusal names it."""
    body = form(part(f'{TOLD}="?"')).replace(b"?", b"\xff")
    assert refused(body) == ("filename", "invalid_value")


@pytest.mark.parametrize(
    "disposition",
    [
        f'{TOLD}="a"; filename="b"',
        'name="file"; name="file_path"',
        f"{TOLD}*=UTF-8''a; filename*=UTF-8''b",
        f'{TOLD}*0="a"; filename*1="b"',
        "name*=UTF-8''file",
        'name=""',
        'name="file"; filename="a" b',
        "name",
    ],
)
def test_options_that_are_not_clear_are_refused(disposition: str) -> None:
    """What is given twice, or in a notation that nobody sends, is not guessed at."""
    assert refused(form(part(disposition, b"x"))) == ("body", "invalid_value")


@pytest.mark.parametrize("header", ["Content-Disposition: form-data; name=x", "content-type: a/b"])
def test_a_header_that_is_read_stands_once(header: str) -> None:
    """Two that may differ are refused; those that mean nothing here may stand twice."""
    body = form(part('name="file"', b"x", content_type="text/plain"))
    assert refused(body.replace(b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode(), 1)) == ("body", "invalid_value")
    assert read(body.replace(b"\r\n\r\n", b"\r\nX-A: b\r\nX-A: c\r\n\r\n", 1)).content == b"x"


@pytest.mark.parametrize(
    "disposition",
    [" " * 3_900 + "x x", "a=" + " " * 3_900 + '"', 'a="' + '\\"' * 1_900, 'a="' + "\\" * 3_900, "a= " * 1_200 + '"'],
)
def test_long_headers_are_read_in_linear_time(disposition: str) -> None:
    """No run of blanks or backslashes is tried in every way: cubic time would be hours."""
    assert refused(form(part(disposition, b"x"))) == ("body", "invalid_value")


@pytest.mark.parametrize("encoding", ["binary", "8bit", "7BIT "])
def test_bytes_that_are_as_they_are_may_say_so(encoding: str) -> None:
    """Clients in Java say `binary` of every part."""
    body = form(part('name="file"', b"x"))
    assert (
        read(body.replace(b"\r\n\r\n", f"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode())).content == b"x"
    )


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "x-mine", ""])
def test_encoded_bytes_are_refused(encoding: str) -> None:
    """They would be kept encoded, and nobody would notice before the download (RFC 7578 has done away with them)."""
    body = form(part('name="file"', b"aGk="))
    encoded = body.replace(b"\r\n\r\n", f"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode())
    assert refused(encoded) == ("body", "invalid_value")


@pytest.mark.parametrize("written", ["=?utf-8?B?!!!?=", "=?utf-8?B?/w==?=", "=?big5?B?YWFh?=", "=?x?Q?a?="])
def test_an_encoded_word_that_cannot_be_decoded_is_refused(written: str) -> None:
    """A name that is not what it says is not kept half decoded."""
    assert refused(form(part(f'{TOLD}="{written}"'))) == ("filename", "invalid_value")


def test_compressed_content_is_refused() -> None:
    """A part's own Content-Encoding would be kept, unnoticed; that it is none may be said."""
    body = form(part('name="file"', b"x"))
    for encoding in (b"gzip", b"br", b""):
        encoded = body.replace(b"\r\n\r\n", b"\r\nContent-Encoding: " + encoding + b"\r\n\r\n")
        assert refused(encoded) == ("body", "invalid_value")
    assert read(body.replace(b"\r\n\r\n", b"\r\ncontent-encoding: identity\r\n\r\n")).content == b"x"


def test_a_file_in_another_part_is_refused_with_a_hint() -> None:
    """`-F upload=@big.bin` says where the file belongs, before a byte of it is stored."""
    with pytest.raises(InvalidRequestError, match="a file belongs in the part 'file'") as caught:
        read(form(part('name="upload"; filename="big.bin"', b"x")))
    assert (caught.value.param, caught.value.code) == ("upload", "unknown_parameter")


def test_a_boundary_is_given_once() -> None:
    """Two boundaries make two forms out of one body."""
    assert refused(form(), content_type="multipart/form-data; boundary=a; boundary=edge") == ("body", "invalid_value")


@pytest.mark.parametrize("boundary", ["edge\r", "ed\rge", "ed\nge", "\0", "\x7f"])
def test_a_boundary_has_no_control_characters(boundary: str) -> None:
    """Over gRPC one could; a boundary with a line's end in it would be found or not as the network cuts the form."""
    body = form(part('name="file"')).replace(b"edge", boundary.encode())
    assert refused(body, content_type=f'multipart/form-data; boundary="{boundary}"') == ("body", "invalid_value")


@pytest.mark.parametrize("length", [1, 70, 200, 256])
def test_a_boundary_has_at_most_256_bytes(length: int) -> None:
    """RFC 2046 says 70; who has a longer one means no harm."""
    body = form(part('name="file"', b"x")).replace(b"edge", b"b" * length)
    for written in ("b" * length, f'"{"b" * length}"'):
        assert read(body, content_type=f"multipart/form-data; boundary={written}").content == b"x"


def test_the_type_of_a_form_has_at_most_1024_characters() -> None:
    """Over gRPC it may be as long as a message, and reading one of a few megabytes takes seconds."""
    longest = "multipart/form-data; boundary=edge".ljust(1_024, ";")
    assert read(form(part('name="file"', b"x")), content_type=longest).content == b"x"
    started = time.process_time()
    assert refused(form(), content_type=longest + ";" * 8_000_000) == ("body", "invalid_value")
    assert time.process_time() - started < 1


def test_no_header_takes_long() -> None:
    """Of 4096 characters, whichever they are, none takes the square of its length."""
    for unit in (' "', '\\"', ';a="', ';"', " ", ";", "*=", "%", "';"):
        written = f"{TOLD}*=UTF-8''" + (unit * 4_096)[:4_000]
        started = time.process_time()
        outcome([form(part(written))])
        assert time.process_time() - started < 0.5
