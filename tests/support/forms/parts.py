"""Multipart forms by hand, and what Form makes of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.forms import Form

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


def outcome(bodies: Sequence[bytes], *, content_type: str = TYPE) -> object:
    """Return what comes of a form: what is read, or the parameter and code of its refusal."""
    try:
        return read(*bodies, content_type=content_type)
    except InvalidRequestError as error:
        return error.param, error.code
