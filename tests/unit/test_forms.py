"""Multipart forms, however the network cuts them up."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.rpc.forms import Form

TYPE = "multipart/form-data; boundary=edge"


class Read(NamedTuple):
    """A form as it was read: fields before the file, fields behind it, and the file."""

    early: dict[str, str]
    late: dict[str, str]
    filename: str | None
    content_type: str | None
    content: bytes | None


def part(disposition: str, content: bytes = b"", *, content_type: str | None = None) -> bytes:
    headers = f"Content-Disposition: form-data; {disposition}\r\n"
    if content_type is not None:
        headers += f"Content-Type: {content_type}\r\n"
    return b"--edge\r\n" + headers.encode() + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


FILE = part('name="file"; filename="a.txt"', b"hello\r\n--edg", content_type="text/plain")
PATH = part('name="file_path"', "港/a.txt".encode())
WHOLE = form(PATH, FILE, part('name="provider"', b"ollama"))


async def _bodies(bodies: Sequence[bytes]) -> AsyncIterator[bytes]:
    for body in bodies:
        yield body


async def _read(content_type: str, bodies: Sequence[bytes]) -> Read:
    early: dict[str, str] = {}
    late: dict[str, str] = {}
    reading = Form(content_type, _bodies(bodies), take=early.__setitem__, take_late=late.__setitem__)
    content = b"".join([chunk async for chunk in reading.file()]) if await reading.find_file() else None
    return Read(early, late, reading.filename, reading.content_type, content)


def read(*bodies: bytes, content_type: str = TYPE) -> Read:
    return asyncio.run(_read(content_type, bodies))


def refused(*bodies: bytes, content_type: str = TYPE) -> tuple[str | None, str | None]:
    with pytest.raises(InvalidRequestError) as caught:
        read(*bodies, content_type=content_type)
    return caught.value.param, caught.value.code


def test_a_form_is_read() -> None:
    """Fields, the file's name, type and bytes come out as they went in."""
    assert read(WHOLE) == Read(
        {"file_path": "港/a.txt"}, {"provider": "ollama"}, "a.txt", "text/plain", b"hello\r\n--edg"
    )


def test_a_file_needs_neither_name_nor_type() -> None:
    """A part `file` is the file, whatever it lacks."""
    assert read(form(part('name="file"', b"x"))) == Read({}, {}, None, None, b"x")


def test_an_empty_file_is_a_file() -> None:
    """Zero bytes are a file; a form without the part has none."""
    assert read(form(part('name="file"; filename="a"'))).content == b""
    assert read(form(PATH)).content is None
    assert read(b"--edge--\r\n").content is None


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("日本語.txt", "日本語.txt"),
        ("a%22b%0D%0Ac", 'a"b\r\nc'),
        ("100%25", "100%25"),
        ('a\\"b', 'a"b'),
        ("x" * 300, "x" * 300),
        ("", ""),
    ],
)
def test_a_filename_is_read_as_clients_write_it(written: str, name: str) -> None:
    """Names are UTF-8; what cannot stand in quotes is escaped, in either of the two ways there are."""
    assert read(form(part(f'name="file"; filename="{written}"'))).filename == name


def test_what_stands_around_the_form_is_skipped() -> None:
    """An empty line before the form, and whatever follows its end, are allowed."""
    assert read(b"\r\n" + WHOLE + b"and more").content == b"hello\r\n--edg"


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 257,
        "multipart/form-data; charset=utf-8",
    ],
)
def test_a_form_needs_a_boundary(content_type: str) -> None:
    """Without a boundary, or with one that is too long, nothing can be read."""
    assert refused(WHOLE, content_type=content_type) == ("body", "invalid_value")


def test_a_boundary_of_any_characters_is_only_a_boundary() -> None:
    """A boundary beyond ASCII is unusual and harmless."""
    assert read("--端--\r\n".encode(), content_type="multipart/form-data; boundary=端").content is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        b"--other\r\n",
        WHOLE[:-4],
        WHOLE[:80],
        form(b"--edge\r\nContent-Type: text/plain\r\n\r\nx\r\n"),
        form(b'--edge\r\nContent-Disposition: attachment; name="file"\r\n\r\nx\r\n'),
        form(part("filename=a")),
        form(b'--edge\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n'),
        form(b'--edge\r\nContent-Disposition: form-data; name="file"; filename="\xff"\r\n\r\nx\r\n'),
        form(b'--edge\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: \xff\r\n\r\nx\r\n'),
        form(part('name="file_path"', b"\xff")),
        form(*[part('name="note"')] * 17),
        form(b"--edge\r\n" + b"X: y\r\n" * 9 + b"\r\n"),
        form(b"--edge\r\nX: " + b"y" * 5_000 + b"\r\n\r\n"),
    ],
)
def test_a_malformed_form_is_refused(body: bytes) -> None:
    """What is cut off, has parts without a name, too many of them, or bytes that are no text is no form."""
    assert refused(body) == ("body", "invalid_value")


def test_a_second_file_is_refused() -> None:
    """One file at a time; the refusal comes wherever the second one stands."""
    assert refused(form(FILE, PATH, FILE)) == ("file", "duplicate_parameter")


def test_a_field_has_at_most_4096_bytes() -> None:
    """4096 bytes are read; one more is refused and the field is named."""
    assert read(form(part('name="note"', b"x" * 4_096))).early == {"note": "x" * 4_096}
    assert refused(form(part('name="note"', b"x" * 4_097))) == ("note", "string_above_max_length")


def test_the_sixteenth_part_is_the_last() -> None:
    """16 parts are a form."""
    assert read(form(*[part('name="note"')] * 15, FILE)).filename == "a.txt"


def outcome(bodies: Sequence[bytes]) -> object:
    try:
        return read(*bodies)
    except InvalidRequestError as error:
        return error.param, error.code


CASES = [
    WHOLE,
    WHOLE[:-20],
    WHOLE + b"epilogue",
    form(FILE, FILE),
    form(PATH),
    form(FILE, part('name="note"', b"x" * 5_000)),
]


@given(st.sampled_from(CASES), st.lists(st.integers(0, 700), max_size=20))
@example(WHOLE, list(range(700)))
def test_it_does_not_matter_where_a_form_is_cut(body: bytes, cuts: list[int]) -> None:
    """Split at any bytes, a form reads like the whole: the same fields, the same file, the same refusal."""
    edges = [0, *sorted(cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert outcome(pieces) == outcome([body])


grammar = st.sampled_from(
    [
        b"--edge",
        b"\r\n",
        b"--",
        b"Content-Disposition: form-data;",
        b' name="file"',
        b"filename=",
        b'"',
        b"\xff",
        b";*=",
    ]
)


@given(st.lists(grammar | st.binary(max_size=20), max_size=30), st.text())
def test_random_bytes_are_read_or_refused(pieces: list[bytes], boundary: str) -> None:
    """No bytes, and no content type, raise anything but InvalidRequestError."""
    outcome(pieces)
    try:
        read(*pieces, content_type=f"multipart/form-data; boundary={boundary}")
    except InvalidRequestError:
        return
