"""Strange headers and fields of a provider: they are ignored or a 503, and never an internal error."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from berth.core.caller import Caller, Options
from berth.core.ports.backend import Backend
from berth.rpc.bodies.downloads import content_headers
from berth.v1.container_file_service_pb2 import (
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_service_pb2 import RetrieveContainerRequest
from support.providers.before import CALLS, ID, OURS, at_once, before, ending
from support.providers.faults import CONTAINER, FAILED, LOST
from support.providers.raw import Behaviour, Exchange, answer, misbehaving, stream
from support.providers.scripted import FILE
from support.servers.passthrough import Passthrough

CURIOUS = Caller(OURS.tenant, OURS.name, options=Options(raw_request=True, raw_response=True))
CONTENT = RetrieveContainerFileContentRequest(container_id=ID, file_id="cfile_1")
DATES = [
    b"1, 1 Jan 2020 00:00:00 +99999999999999999999",
    b"Fri, 31 Dec 9999 23:59:59 -2359",
    b"Mon, 01 Jan 0001 00:00:00 +2359",
    b"Mon, 01 Jan 0001 00:00:00 GMT",
    b"Sat, 29 Feb 2023 99:99:99 GMT",
]
WORDS = [b"9" * 20, b"9" * 5000, b"-1", b"1e400", b"nan", b"\xff", b"text/\xff", b'"\xff"', b"", *DATES]
NAMES = [
    b"Retry-After",
    b"x-content-length",
    b"Content-Type",
    b"Content-Disposition",
    b"Content-Range",
    b"ETag",
    b"Last-Modified",
    b"x-content-sha256",
]
DISPOSITIONS = [b"attachment; filename=\xff", b"attachment; filename*=UTF-8''%ff", b"attachment; filename*=nope''x"]
HEADERS = [(name, word) for name in NAMES for word in WORDS]
HEADERS += [(b"Content-Disposition", value) for value in DISPOSITIONS]
VALUES = [
    *("1e400", "-1e400", "NaN", "Infinity", "-1", "-0.0", "1e308", "9" * 5000, f'"{"9" * 5000}"', '"1e400"', '"inf"'),
    *('"\\ud800"', '"\\u0000"', '"\u0663"', '""', "true", "null", "[]", "{}", "[" * 2000 + "]" * 2000),
    *('{"a":' * 500 + "1" + "}" * 500, '{"\\udfff": 1}', '[{"id": 1e999}]', '"unknown"'),
]


@pytest.fixture
async def scripted() -> AsyncIterator[tuple[list[Behaviour], Passthrough]]:
    """Run a backend in front of a provider that does what the list says."""
    script: list[Behaviour] = []

    async def behave(exchange: Exchange) -> None:
        await script[0](exchange)

    async with misbehaving(behave) as server, before(server.url, sleep=at_once) as at:
        yield script, at


def raw(status: int, *headers: bytes, body: bytes) -> Behaviour:
    """Answer with headers that are sent as they are."""
    lines = [b"HTTP/1.1 %d X" % status, *headers, b"Content-Length: %d" % len(body), b"", b""]
    return stream(b"\r\n".join(lines) + body)


def variants(fields: dict[str, object]) -> Iterator[bytes]:
    """Yield JSON objects in each of which one field has one strange value."""
    for name in fields:
        rest = json.dumps({other: value for other, value in fields.items() if other != name})
        yield from (f'{rest[:-1]}, "{name}": {value}}}'.encode() for value in VALUES)


async def downloaded(backend: Backend) -> None:
    """Read a file, and the headers that describe it as they would be sent."""
    content = await backend.retrieve_container_file_content(OURS, CONTENT)
    async for _ in content.chunks:
        pass
    assert all(f"{name}{value}".isascii() for name, value in content_headers(content))
    assert content.content_type.isascii()


@pytest.mark.parametrize("status", [200, 206, 400, 416, 429, 503])
async def test_strange_headers(scripted: tuple[list[Behaviour], Passthrough], status: int) -> None:
    """No header of an answer or a download leads to an error that was not foreseen; most of them are ignored."""
    script, at = scripted
    body = json.dumps(CONTAINER).encode()
    for name, word in HEADERS:
        script[:] = [raw(status, name + b": " + word, body=body)]
        end = await ending(CALLS["get"](at.backend))
        assert (end.status == 200) == (status < 300), (name, word)
        end = await ending(downloaded(at.backend))
        assert end.status == 200 or status != 200, (name, word)


READS: dict[str, tuple[dict[str, object], Callable[[Backend], Awaitable[object]]]] = {
    "container": (
        CONTAINER | {"memory_limit": "1g", "metadata": {}, "network_policy": {"type": "disabled"}},
        lambda backend: backend.retrieve_container(CURIOUS, RetrieveContainerRequest(container_id=ID)),
    ),
    "file": (
        FILE,
        lambda backend: backend.retrieve_container_file(
            CURIOUS, RetrieveContainerFileRequest(container_id=ID, file_id="cfile_1")
        ),
    ),
    "list": (
        {"data": [FILE], "has_more": True, "first_id": "x", "last_id": "y"},
        lambda backend: backend.list_container_files(CURIOUS, ListContainerFilesRequest(container_id=ID)),
    ),
    "error": ({"message": "m", "type": "t", "param": "p", "code": "c"}, CALLS["get"]),
}


@pytest.mark.parametrize("read", READS)
async def test_strange_fields(scripted: tuple[list[Behaviour], Passthrough], read: str) -> None:
    """No value of a field leads to an error that was not foreseen: a bad one is a 503, an unknown one is left out."""
    script, at = scripted
    fields, call = READS[read]
    for body in variants(fields):
        is_error = read == "error"
        script[:] = [answer(400, b'{"error": ' + body + b"}") if is_error else answer(200, body)]
        end = await ending(call(at.backend))
        assert (end.status, end.code) in {(200, None), (503, FAILED)} or is_error, body


async def test_a_body_that_becomes_malformed(scripted: tuple[list[Behaviour], Passthrough]) -> None:
    """A chunk that is none, in the middle of a body, is a 503 for an answer and for a download."""
    script, at = scripted
    arrived = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"

    async def behave(exchange: Exchange) -> None:
        await exchange.send(arrived)
        await asyncio.sleep(0.05)  # so that it arrives by itself
        await exchange.send(b"no number\r\n}\r\n")
        await exchange.hang()

    script[:] = [behave]
    for call in (CALLS["get"](at.backend), downloaded(at.backend)):
        end = await ending(call)
        assert (end.status, end.code) == (503, LOST)
