"""The headers of a download, whatever the file is called."""

from collections.abc import AsyncIterator
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.core.ports.backend import Content
from berth.rpc.bodies.downloads import content_disposition, content_headers
from berth.v1.provider_pb2 import Provider


async def _nothing() -> AsyncIterator[bytes]:
    no_chunks: tuple[bytes, ...] = ()
    for chunk in no_chunks:
        yield chunk


def content(sha256: str | None) -> Content:
    etag = f'"{sha256}"' if sha256 else None
    return Content(
        Provider.PROVIDER_OLLAMA, "a.txt", "text/html", sha256, length=12, chunks=_nothing(), etag=etag, modified_at=0
    )


def test_a_download_is_described() -> None:
    """Name, length and digest stand in headers, and no browser is to guess a type."""
    assert dict(content_headers(content("ab" * 32))) == {
        "content-disposition": 'attachment; filename="a.txt"',
        "x-content-length": "12",
        "accept-ranges": "bytes",
        "last-modified": "Thu, 01 Jan 1970 00:00:00 GMT",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "etag": f'"{"ab" * 32}"',
        "x-content-sha256": "ab" * 32,
    }


def test_an_unknown_digest_is_not_made_up() -> None:
    """Without a digest there is neither an etag nor a digest header."""
    assert not {"etag", "x-content-sha256"} & set(dict(content_headers(content(None))))


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("a b.txt", 'attachment; filename="a b.txt"'),
        ('a"b.txt', "attachment; filename=\"a_b.txt\"; filename*=UTF-8''a%22b.txt"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("名.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%E5%90%8D.txt"),
    ],
)
def test_a_name_that_is_not_plain_is_given_twice(filename: str, header: str) -> None:
    """Plain names stand as they are; others once readable by everything and once exactly."""
    assert content_disposition(filename) == header


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_name_breaks_out_of_the_header(filename: str) -> None:
    """The header is one line of printable ASCII, its quotes stay closed, and the exact form is the name."""
    header = content_disposition(filename)
    assert header.isascii()
    assert header.isprintable()
    plain, _, exact = header.partition("; filename*=UTF-8''")
    quoted = plain.removeprefix('attachment; filename="').removesuffix('"')
    assert not {'"', "\\", "%"} & set(quoted)
    assert (unquote(exact) if exact else quoted) == filename
    assert not {'"', ";", ",", " "} & set(exact)
