"""Files through a gateway whose provider fails in the middle: never a part for the whole, and nothing sent twice."""

import asyncio

import pytest

from berth.core.ports.backend import Backend
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from support.fakes.uploads import GivenUpload
from support.providers.before import ID, OURS, at_once, before, ending
from support.providers.faults import BROKEN, FAILED, LATE, LOST, TOO_MANY
from support.providers.raw import Behaviour, Exchange, answer, cut, hang, head, misbehaving, refusing, reset

FILE = {
    "id": "cfile_1",
    "object": "container.file",
    "container_id": ID,
    "path": "/mnt/data/a.txt",
    "bytes": 5,
    "created_at": 1_700_000_000,
    "source": "user",
}
HALF = head(200, content_length="2000", content_type="text/plain") + b"x" * 1000


async def downloaded(backend: Backend, offset: int = 0) -> bytes:
    """Return a whole file, or what follows its first bytes."""
    request = RetrieveContainerFileContentRequest(container_id=ID, file_id="cfile_1", offset=offset)
    content = await backend.retrieve_container_file_content(OURS, request)
    return b"".join([chunk async for chunk in content.chunks])


SLACK_SECONDS = 30.0
"""What takes longer has no end."""


def time_for(status: int) -> float:
    """Return how long the provider may take for each piece: it matters if the call ends in a 504."""
    return 1.0 if status == 504 else SLACK_SECONDS


BROKEN_DOWNLOADS: dict[str, tuple[Behaviour, int, str]] = {
    "closed in the middle": (cut(HALF), 503, LOST),
    "reset in the middle": (reset(HALF), 503, LOST),
    "hang in the middle": (hang(HALF), 504, LATE),
    "hang before it begins": (hang(head(200, content_length="9")), 504, LATE),
    "a chunk cut off": (cut(head(200, transfer_encoding="chunked") + b"ff\r\nx"), 503, LOST),
    "no last chunk": (cut(head(200, transfer_encoding="chunked") + b"2\r\nxx\r\n"), 503, LOST),
    "an encoding nobody asked for": (answer(200, b"x", content_encoding="gzip"), 503, FAILED),
    "a range nobody asked for": (answer(206, b"x", content_range="bytes 5-5/6"), 503, FAILED),
    "a redirect to a storage": (answer(302, b"", location="http://127.0.0.1:9/"), 503, FAILED),
}


@pytest.mark.parametrize("name", BROKEN_DOWNLOADS)
async def test_a_download_that_breaks(name: str) -> None:
    """It ends in an error, within the time that the provider has for each piece, and is not begun again."""
    behaviour, status, code = BROKEN_DOWNLOADS[name]
    async with misbehaving(behaviour) as server, before(server.url, timeout_seconds=time_for(status)) as at:
        end = await asyncio.wait_for(ending(downloaded(at.backend)), SLACK_SECONDS)
        assert (end.status, end.code, len(server.calls)) == (status, code, 1)


async def test_a_slow_download() -> None:
    """A download may take longer than a call, as long as something comes."""
    pieces = [head(200, content_length="8"), *[b"x"] * 8]

    async def slowly(exchange: Exchange) -> None:
        for piece in pieces:
            await asyncio.sleep(0.25)
            await exchange.send(piece)

    async with misbehaving(slowly) as server, before(server.url, timeout_seconds=2) as at:
        assert await downloaded(at.backend) == b"x" * 8


async def test_a_download_is_tried_again_before_it_begins() -> None:
    """A fault before the first byte is met by trying again."""
    script = reset(), answer(503, BROKEN), answer(200, b"hello", content_type="text/plain")
    async with misbehaving(*script) as server, before(server.url, sleep=at_once) as at:
        assert await downloaded(at.backend) == b"hello"
        assert len(server.calls) == 3


async def test_an_offset_beyond_a_file_of_unknown_length() -> None:
    """That a file is too short is said before the answer begins, also by a provider that never says how long it is."""
    script = cut(head(200, connection="close") + b"0123456789")
    async with misbehaving(script) as server, before(server.url) as at:
        request = RetrieveContainerFileContentRequest(container_id=ID, file_id="cfile_1", offset=11)
        end = await ending(at.backend.retrieve_container_file_content(OURS, request))
        assert (end.status, end.code) == (400, "integer_above_max_value")
        assert await downloaded(at.backend, offset=7) == b"789"


UPLOAD_FAULTS: dict[str, tuple[Behaviour, int, str]] = {
    "reset": (reset(), 503, LOST),
    "closed": (cut(), 503, LOST),
    "hang": (hang(), 504, LATE),
    "500": (answer(500, BROKEN), 503, FAILED),
    "503": (answer(503, BROKEN), 503, FAILED),
    "429": (answer(429, TOO_MANY), 429, "rate_limit_exceeded"),
    "HTML": (answer(200, b"<html></html>", content_type="text/html"), 503, FAILED),
    "another shape": (answer(200, {"id": 7}), 503, FAILED),
}


@pytest.mark.parametrize("name", UPLOAD_FAULTS)
async def test_an_upload_is_sent_once(name: str) -> None:
    """Whatever becomes of it, a file that may have arrived is not sent again."""
    behaviour, status, code = UPLOAD_FAULTS[name]
    seconds = time_for(status)
    async with misbehaving(behaviour) as server, before(server.url, timeout_seconds=seconds, sleep=at_once) as at:
        end = await asyncio.wait_for(ending(at.backend.create_container_file(OURS, GivenUpload(ID))), SLACK_SECONDS)
        assert (end.status, end.code, len(server.calls)) == (status, code, 1)


async def test_an_upload_to_nobody() -> None:
    """A provider that cannot be reached is a 503."""
    with refusing() as url:
        async with before(url, sleep=at_once) as at:
            end = await ending(at.backend.create_container_file(OURS, GivenUpload(ID)))
    assert (end.status, end.code) == (503, LOST)
