"""Files on their way down through PassthroughBackend, before a real server."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from berth.adapters.upstream.settings import UpstreamKey
from berth.core.errors import InvalidRequestError, UpstreamError
from berth.core.ports.backend import Content
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.container_service_pb2 import CreateContainerRequest, RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
from support.fakes.subjects import OURS, THEIRS, refused
from support.providers.scripted import CONTAINER, MAIN, Behaviour, Provided, answer, passing
from support.servers.passthrough import Passthrough

NEW = CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="box")
NARROW = UpstreamKey("narrow", "sk-narrow", max_in_flight=1)
TEXT = b"0123456789"


@pytest.fixture
async def passed(provider: Provided) -> AsyncIterator[Passthrough]:
    """Open a backend, whose only key has room for one call, that has made the container cntr_1."""
    async with passing(provider.port, NARROW) as passed:
        await passed.backend.create_container(OURS, NEW)
        provider.asked.clear()
        yield passed


async def content(passed: Passthrough, offset: int | None = None, length: int | None = None) -> Content:
    request = RetrieveContainerFileContentRequest(
        container_id="cntr_1", file_id="cfile_1", offset=offset, length=length
    )
    return await passed.backend.retrieve_container_file_content(OURS, request)


async def read(passed: Passthrough, offset: int | None = None, length: int | None = None) -> bytes:
    opened = await content(passed, offset, length)
    try:
        return b"".join([chunk async for chunk in opened.chunks])
    finally:
        opened.close()


def serving(*, ranges: bool, length: bool = True) -> Behaviour:
    """Serve TEXT: with ranges or without, saying its length or not."""

    async def respond(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/plain", "Content-Disposition": "attachment; filename*=UTF-8''%C3%A4.txt"}
        span = request.http_range if ranges else slice(0, None)
        if (span.start or 0) >= len(TEXT):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(TEXT)}"})
        body = TEXT[span]
        partial = ranges and "Range" in request.headers
        if partial:
            headers["Content-Range"] = f"bytes {span.start}-{span.start + len(body) - 1}/{len(TEXT)}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        if length:
            response.content_length = len(body)
        await response.prepare(request)
        await response.write(body)
        return response

    return respond


SERVERS = {
    "ranges": serving(ranges=True),
    "no ranges": serving(ranges=False),
    "no length": serving(ranges=False, length=False),
}


@pytest.mark.parametrize("status", [200, 203, 299])
async def test_every_success_is_a_download(provider: Provided, passed: Passthrough, status: int) -> None:
    """A file that a proxy of the provider sends with another successful status, such as 203, is sent as well."""
    provider.answers(answer(TEXT, status=status))
    assert await read(passed) == TEXT


servers = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS.keys())


@servers
@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ({}, TEXT),
        ({"offset": 3}, TEXT[3:]),
        ({"offset": 3, "length": 4}, TEXT[3:7]),
        ({"length": 4}, TEXT[:4]),
        ({"length": 0}, b""),
        ({"offset": 8, "length": 100}, TEXT[8:]),
        ({"offset": 10}, b""),
        ({"offset": 10, "length": 1}, b""),
    ],
)
async def test_a_range_is_what_was_asked_for(
    provider: Provided, passed: Passthrough, server: Behaviour, span: dict[str, int], expected: bytes
) -> None:
    """Whether or not the provider gives ranges, these bytes come and no others, and the key has room again."""
    provider.answers(server)
    for _ in range(2):
        assert await read(passed, **span) == expected


@servers
async def test_beyond_the_end_is_nothing(provider: Provided, passed: Passthrough, server: Behaviour) -> None:
    """An offset behind the last byte is the caller's error, and names the parameter."""
    provider.answers(server)
    for _ in range(2):
        error = await refused(read(passed, offset=11))
        assert (type(error), error.param) == (InvalidRequestError, "offset")


async def test_a_download_is_described(provider: Provided, passed: Passthrough) -> None:
    """Type, name and length come from the provider, and say nothing that it does not say."""
    provider.answers(serving(ranges=True))
    opened = await content(passed, offset=2)
    assert (opened.content_type, opened.filename, opened.length, opened.sha256) == ("text/plain", "ä.txt", 8, None)
    opened.close()
    provider.answers(serving(ranges=True, length=False))
    opened = await content(passed)
    assert opened.length is None
    opened.close()


async def test_a_download_without_a_name_is_a_file(provider: Provided, passed: Passthrough) -> None:
    """A name that is missing, or cannot be one, is no reason to fail."""
    for header in ('attachment; filename="a\tb"', "nonsense;;=", ""):
        provider.answers(answer(TEXT, Content_Disposition=header))
        opened = await content(passed)
        opened.close()
        assert opened.filename == "file"


@pytest.mark.parametrize("kind", ["text", "text/html\tx", "é/é", "a/" + "b" * 255])
async def test_a_type_that_is_none_is_that_of_any_file(provider: Provided, passed: Passthrough, kind: str) -> None:
    """What the provider calls a type stands in a header of the answer: anything else would break it."""

    async def respond(_: web.Request) -> web.StreamResponse:
        return web.Response(body=TEXT, headers={"Content-Type": kind})

    provider.answers(respond)
    opened = await content(passed)
    opened.close()
    assert opened.content_type == "application/octet-stream"


@pytest.mark.parametrize("header", ["Content-Range", "x-content-length"])
async def test_no_number_is_too_long_to_be_read(provider: Provided, passed: Passthrough, header: str) -> None:
    """A size of five thousand digits is none, and no error of ours."""
    digits = "1" * 5000
    provider.answers(answer(TEXT, status=206, **{header: f"bytes 3-4/{digits}" if "R" in header else digits}))
    error = await refused(content(passed, offset=3))
    assert isinstance(error, UpstreamError)


async def test_another_range_than_asked_for_is_refused(provider: Provided, passed: Passthrough) -> None:
    """Bytes that are not known to be the right ones are not handed on."""
    provider.answers(answer(TEXT, status=206, Content_Range="bytes 0-9/10"))
    error = await refused(read(passed, offset=3))
    assert (isinstance(error, UpstreamError), error.message) == (
        True,
        "openai answered with another range than was asked for.",
    )


async def test_a_download_that_is_cut_off_is_an_error(provider: Provided, passed: Passthrough) -> None:
    """Fewer bytes than were promised never pass for the whole file."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(TEXT)
        assert request.transport is not None
        request.transport.abort()
        return response

    provider.answers(respond)
    error = await refused(read(passed))
    assert (type(error), error.code) == (UpstreamError, "provider_connection_failed")


async def test_a_download_that_nobody_wants_any_more_is_ended(provider: Provided, passed: Passthrough) -> None:
    """Closing what was opened ends the call, also before the first byte was read, and the key has room again."""
    left = asyncio.Event()

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(65_536))
        finally:
            left.set()

    provider.answers(respond)
    for chunks in (0, 1):
        left.clear()
        opened = await content(passed)
        for _ in range(chunks):
            assert await anext(opened.chunks)
        opened.close()
        await asyncio.wait_for(left.wait(), 30)


async def test_slow_downloads_leave_connections_for_other_tenants(provider: Provided) -> None:
    """Downloads that are not read take the connections of their tenant; more of them wait until one has ended."""
    ids = iter(["cntr_1", "cntr_2", "cntr_2"])

    async def respond(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/content"):
            return web.Response(body=b"x" * 8_000_000)
        return web.json_response(CONTAINER | {"id": next(ids)})

    provider.answers(respond)
    async with passing(provider.port, MAIN, max_connections=4, timeout_seconds=10) as passed:
        await passed.backend.create_container(OURS, NEW)
        await passed.backend.create_container(THEIRS, NEW)
        unread = [await content(passed) for _ in range(2)]
        waiting = [asyncio.create_task(content(passed)) for _ in range(3)]
        assert not (await asyncio.wait(waiting, timeout=0.5))[0]
        theirs = await passed.backend.retrieve_container(THEIRS, RetrieveContainerRequest(container_id="cntr_2"))
        assert theirs.id == "cntr_2"
        for opened in unread:
            opened.close()
        for task in waiting:
            (await task).close()
