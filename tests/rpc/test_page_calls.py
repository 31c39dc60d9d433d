"""Calls for pages, straight at the service: their limits, and what becomes of errors."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
import structlog
from google.api.httpbody_pb2 import HttpBody

from berth.core.web_page import WebPage
from berth.rpc.page_calls import CHUNK_BYTES, MAX_PAGES_PER_SOURCE, PageCalls
from berth.rpc.peer import NO_TRUST
from berth.rpc.transports.context import Limited, uncounted
from berth.rpc.transports.grpcio.server import CallLimit, GrpcRoutes

PATH = "x-envoy-original-path"


class Slow:
    """Pages that wait until they may come; one breaks."""

    def __init__(self) -> None:
        self.may_come, self.are_full = asyncio.Event(), asyncio.Event()
        self.waiting = 0

    async def find(self, path: str) -> WebPage | None:
        """Return the page."""
        if path == "/broken":
            raise RuntimeError("secret")
        if path == "/docs":
            self.waiting += 1
            if self.waiting == MAX_PAGES_PER_SOURCE:
                self.are_full.set()
            await self.may_come.wait()
        body = b"x" * (2 * CHUNK_BYTES + 1)
        return WebPage("text/plain", body, len(body))


@asynccontextmanager
async def serving(
    pages: Slow, *, max_seconds: float = 30, limited: Limited = uncounted
) -> AsyncIterator[grpc.aio.Channel]:
    """Serve `pages` on a free port."""
    server = grpc.aio.server()
    calls = PageCalls(pages, trust=NO_TRUST, log=structlog.get_logger(), max_seconds=max_seconds, limited=limited)
    server.add_generic_rpc_handlers([GrpcRoutes(calls.routes(), CallLimit())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def get(channel: grpc.aio.Channel, path: str | None) -> list[HttpBody]:
    """Return the messages of a page."""
    method: Any = channel.unary_stream("/berth.rest.Pages/GetPage", response_deserializer=HttpBody.FromString)
    metadata = () if path is None else ((PATH, path),)
    return [message async for message in method(b"", metadata=metadata)]


async def test_a_page_comes_in_parts() -> None:
    """A page is sent in parts of at most 65 536 bytes, after its type."""
    async with serving(Slow()) as channel:
        messages = await get(channel, "/")
    assert messages[0].content_type == "text/plain"
    assert [len(message.data) for message in messages[1:]] == [65_536, 65_536, 1]


async def test_one_source_has_few_calls_at_a_time() -> None:
    """The 33rd page that one source waits for is refused, and counted; its question for the health is not."""
    pages, counted = Slow(), list[str]()
    async with serving(pages, limited=counted.append) as channel:
        waiting = [asyncio.create_task(get(channel, "/docs")) for _ in range(32)]
        await pages.are_full.wait()
        with pytest.raises(grpc.aio.AioRpcError, match="Too many pages at a time") as refused:
            await get(channel, "/docs")
        assert await get(channel, "/healthz")
        pages.may_come.set()
        assert all(await asyncio.gather(*waiting))
    assert (refused.value.code(), counted) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ["pages"])


@pytest.mark.parametrize(("path", "status"), [("/broken", "INTERNAL"), (None, "NOT_FOUND")])
async def test_an_error_says_no_more_than_others(path: str | None, status: str) -> None:
    """A fault is an internal error without its text; over gRPC there are no pages."""
    pages = Slow()
    async with serving(pages) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await get(channel, path)
    assert refused.value.code().name == status
    assert "secret" not in f"{refused.value.details()}{refused.value.trailing_metadata()}"


async def test_a_page_that_takes_too_long_ends() -> None:
    """A call that is not answered in time is ended, and its place is free again."""
    async with serving(Slow(), max_seconds=0.05) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await get(channel, "/docs")
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
