"""Multipart forms, however the network cuts them up."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.forms import Form
from berth.rpc.bodies.multipart import MultipartSplitter, PartEnds
from support.forms.hostile import Delivery, hostile_form
from support.forms.parts import TYPE, Read, form, outcome, part, read, refused

FILE = part('name="file"; filename="a.txt"', b"hello\r\n--edg", content_type="text/plain")
PATH = part('name="file_path"', "港/a.txt".encode())
WHOLE = form(PATH, FILE, part('name="provider"', b"ollama"))


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


@pytest.mark.parametrize("before", [b"\r\n", b"preamble\r\n", b"\r\n--edg\r\n-- edge\r\n"])
def test_what_stands_around_the_form_is_skipped(before: bytes) -> None:
    """A preamble before the form, and whatever follows its end, are allowed (RFC 2046)."""
    assert read(before + WHOLE + b"and more\r\n--edge\r\n") == read(WHOLE)


@pytest.mark.parametrize("padding", [b" ", b"\t \t", b" " * 1_024])
def test_blanks_may_follow_a_boundary(padding: bytes) -> None:
    """Gateways of mail pad boundaries (RFC 2046); 1024 blanks are allowed, and one more is refused."""
    padded = WHOLE.replace(b"--edge\r\n", b"--edge" + padding + b"\r\n")
    assert read(padded) == read(WHOLE)
    assert refused(WHOLE.replace(b"--edge\r\n", b"--edge" + b" " * 1_025 + b"\r\n")) == ("body", "invalid_value")


def test_a_line_that_begins_like_a_boundary_is_content() -> None:
    """Only a whole line is a boundary."""
    content = b"\r\n--edgex\r\n--edge-\r\n--edge x\r\n"
    assert read(form(part('name="file"', content))).content == content


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n \r\n  "])
def test_headers_may_be_folded(fold: bytes) -> None:
    """Older libraries break long headers into several lines (RFC 5322)."""
    folded = WHOLE.replace(b"form-data; name", b"form-data;" + fold + b"name").replace(
        b"; filename", b";" + fold + b"filename"
    )
    assert read(folded) == read(WHOLE)


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
        form(b'--edge\r\nContent-Disposition: form-data; name="file"\r\nContent-Type: \xff\r\n\r\nx\r\n'),
        form(part('name="file_path"', b"\xff")),
        form(*[part('name="note"')] * 17),
        WHOLE.replace(b"\r\n", b"\n"),
        form(b'--edge\r\n Content-Disposition: form-data; name="file"\r\n\r\nx\r\n'),
        form(b'--edge\r\nContent-Disposition: form-data; name="file"\r\nno header\r\n\r\nx\r\n'),
        form(b'--edge\r\nContent-Disposition: form-data; name="file"\r\nX: a\rb\r\n\r\nx\r\n'),
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


def with_header(header: bytes) -> bytes:
    return form(part('name="file"').replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n\r\n", 1))


def test_a_header_has_at_most_4096_bytes() -> None:
    """A name and a value of 4096 bytes together are read; one more, or a name without an end, are refused."""
    assert read(with_header(b"X: " + b"y" * 4_093)).content == b""
    assert refused(with_header(b"X: " + b"y" * 4_094)) == ("body", "invalid_value")
    assert refused(with_header(b"X" * 4_097)) == ("body", "invalid_value")
    assert refused(b"--edge\r\n", *[b"X"] * 5_000) == ("body", "invalid_value")


def test_a_part_has_at_most_8_headers() -> None:
    """Eight are read; nine are refused."""
    assert read(with_header(b"\r\n".join([b"X: y"] * 7))).content == b""
    assert refused(with_header(b"\r\n".join([b"X: y"] * 8))) == ("body", "invalid_value")


def framed(size: int, *, before: int = 0, file: bytes = b"") -> list[bytes]:
    """Return a form with so many bytes beside its file, some of them before it and the rest behind it."""
    whole = form(part('name="file"', file))
    return [b"\r\n" * (before // 2), whole, b"z" * (size - before - len(whole) + len(file))]


@pytest.mark.parametrize("before", [0, 100_000])
def test_131072_bytes_may_stand_beside_the_file(before: int) -> None:
    """However large the file, what is around it is bounded: before the form, behind it, and at its boundaries."""
    file = bytes(1_000_000)
    assert read(*framed(131_072, before=before, file=file)).content == file
    assert refused(*framed(131_073, before=before, file=file)) == ("body", "invalid_value")
    assert refused(b"".join(framed(131_073, before=before, file=file))) == ("body", "invalid_value")


@pytest.mark.parametrize("start", [b"\r\n", WHOLE, PATH + b"--edge "])
def test_no_form_goes_on_for_ever(start: bytes) -> None:
    """Empty lines before a form, an epilogue, or the blanks behind a boundary come to an end."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield start
        while sent < 1_000_000:
            sent += 1_000
            yield (b"\r\n" if start == b"\r\n" else b" " * 2) * 500

    with pytest.raises(InvalidRequestError):
        asyncio.run(_to_the_end(Form(TYPE, endless(), take=_ignore, take_late=_ignore)))
    assert sent <= 132_000


@pytest.mark.parametrize("junk", [b"\r\n--edgex", b"\r\n--edge-x", b"\r\n--edge \t x", b"\r\n--edg", b"\r\n\r"])
def test_what_is_almost_a_boundary_is_content(junk: bytes) -> None:
    """However much of it there is, a piece of a body gives one piece of the file: the work is that of plain bytes."""
    splitter = MultipartSplitter(b"edge")
    events = list(splitter.feed(part('name="file"')[:-2] + b"a" + junk * 10_000 + b"z\r\n--edge--"))
    assert events[1:] == [b"a" + junk * 10_000 + b"z", PartEnds()]


async def test_others_have_their_turn_while_a_large_body_is_parsed() -> None:
    """What looks like a boundary again and again is slow to parse; no call waits for another's 24 MiB."""

    async def body() -> AsyncIterator[bytes]:
        yield part('name="file"') + b"\r\n--edge\r" * 2_000_000 + b"\r\n--edge--"

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await _to_the_end(Form(TYPE, body(), take=_ignore, take_late=_ignore))
    counting.cancel()
    assert turns >= 13


async def _to_the_end(reading: Form) -> None:
    await reading.find_file()
    async for _ in reading.file():
        pass


def _ignore(_: str, __: str) -> None:
    return


CASES = [
    WHOLE,
    WHOLE[:-20],
    WHOLE + b"epilogue",
    form(FILE, FILE),
    form(PATH),
    form(FILE, part('name="note"', b"x" * 5_000)),
    b"\r\n\r" + WHOLE,
    b"\r\nx" + WHOLE,
    form(part('name="file"', b"\r\n--edge-\r\n--edge\r\r\n--edgex\r\n--edg\r\n\r\n--ed")),
    PATH + b"--edge \t\r\n" + FILE[8:] + b"--edge--",
]


@settings(deadline=None)
@given(st.sampled_from(CASES), st.lists(st.integers(0, 700), max_size=20))
@example(WHOLE, list(range(700)))
def test_it_does_not_matter_where_a_form_is_cut(body: bytes, cuts: list[int]) -> None:
    """Split at any bytes, a form reads like the whole: the same fields, the same file, the same refusal."""
    edges = [0, *sorted(cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(edges)]
    assert outcome(pieces) == outcome([body])


@settings(deadline=None, max_examples=300)
@given(st.randoms(), st.lists(st.integers(0, 2_000), max_size=10))
def test_it_does_not_matter_where_a_hostile_form_is_cut(random: Random, cuts: list[int]) -> None:
    """What clients send, changed in whatever way, is read or refused alike: whole, in pieces, and byte by byte."""
    body, content_type, _ = hostile_form(random).sent
    whole = outcome([body], content_type=content_type)
    pieces = Delivery(cuts=tuple(cuts)).pieces(body)
    assert outcome([b"", *pieces, b""], content_type=content_type) == whole
    assert outcome([bytes([byte]) for byte in body], content_type=content_type) == whole


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


@settings(deadline=None)
@given(st.lists(grammar | st.binary(max_size=20), max_size=30), st.text())
def test_random_bytes_are_read_or_refused(pieces: list[bytes], boundary: str) -> None:
    """No bytes, and no content type, raise anything but InvalidRequestError."""
    outcome(pieces)
    try:
        read(*pieces, content_type=f"multipart/form-data; boundary={boundary}")
    except InvalidRequestError:
        return
