"""How large a JSON text is to whoever reads it, found out while it arrives in pieces."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.json_bodies import MAX_VALUES, Outline, read_json

MIB = 1_048_576


def measured(text: bytes) -> tuple[int, int]:
    """Return the bytes outside strings, and how many values may be there, byte by byte."""
    size = ends = strings = 0
    is_open = is_escaped = False
    for byte in text.decode("latin-1"):
        if is_open:
            is_open, is_escaped = is_escaped or byte != '"', not is_escaped and byte == "\\"
            strings += not is_open
        elif byte == '"':
            is_open = True
        else:
            size, ends = size + 1, ends + (byte in ",]}")
    return size, 1 + max(ends, (strings + is_open) // 2)


@given(st.lists(st.text('"\\\\,]}[a 1', max_size=8).map(str.encode), max_size=8))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    """However a text is cut, even inside an escape, its outline is the same."""
    outline, whole = Outline(), Outline()
    for piece in pieces:
        outline.add(piece)
    whole.add(b"".join(pieces))
    assert (outline.length, outline.size) == (len(b"".join(pieces)), measured(b"".join(pieces))[0])
    assert whole.size == outline.size
    assert whole.values == measured(b"".join(pieces))[1]
    assert outline.values >= whole.values


async def read(body: bytes, *, room_for_text: int = 0) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 65_536):
            yield body[at : at + 65_536]

    return await read_json("application/json", pieces(), maximum=MIB, room_for_text=room_for_text)


async def refused(body: bytes, *, room_for_text: int = 0) -> str | None:
    with pytest.raises(InvalidRequestError) as caught:
        await read(body, room_for_text=room_for_text)
    return caught.value.code


async def test_the_number_of_values() -> None:
    """A body may have 10 000 values, whatever they are, and not one more."""
    assert MAX_VALUES == 10_000
    for item in (b"1", b'"a"', b"[]", b"{}", b"null"):
        each = 2 if item in (b"[]", b"{}") else 1
        count = 9_999 // each - (each - 1)
        assert len(await read(b"[" + b",".join([item] * count) + b"]")) == count  # type: ignore[arg-type] # it is a list
        assert await refused(b"[" + b",".join([item] * 10_000) + b"]") == "request_too_large"
    assert await refused(b'""' * 30_000) == "request_too_large"


async def test_there_may_be_more_room_for_text() -> None:
    """A text may be as long as is said beside the limit of the rest, and nothing but text may be."""
    text = b'{"a":"' + b"x" * 3 * MIB + b'"}'
    assert await read(text, room_for_text=3 * MIB) == {"a": "x" * 3 * MIB}
    assert await refused(text, room_for_text=MIB) == "request_too_large"
    assert await refused(text) == "request_too_large"
    assert await refused(b'{"a":"x"}'.ljust(MIB + 7), room_for_text=3 * MIB) == "request_too_large"
    assert await refused(b'{"a":' + b"[" * 2 * MIB, room_for_text=3 * MIB) == "request_too_large"
