"""Serve web pages and the health of Berth over REST, without authentication and within limits.

Nothing is read of a request except its headers. Each source has few calls at a time, and a slow
reader is cut off. Envoy logs these requests, except those for the health.
"""

import asyncio
import re
import zlib
from collections.abc import Iterator

from google.api.httpbody_pb2 import HttpBody
from structlog.typing import FilteringBoundLogger

from berth.core.errors import NotFoundError, SlowRequestError
from berth.core.operations import Operation
from berth.core.web_page import WebPage, WebPages
from berth.rpc.bodies.conditions import knows_etag
from berth.rpc.call import HTTP_STATUS, Call, Method
from berth.rpc.interceptors.errors import errors_interceptor
from berth.rpc.metadata import read_metadata
from berth.rpc.peer import Trust
from berth.rpc.public_calls import Slots
from berth.rpc.transports.context import Context, Headers, Limited, Route, Routes, uncounted

SERVICE, METHOD = "berth.rest.Pages", "GetPage"
MAX_PAGES, MAX_PAGES_PER_SOURCE = 128, 32
MAX_CHECKS, MAX_CHECKS_PER_SOURCE = 128, 32
"""Requests for the health are counted by themselves: pages cannot keep a balancer from asking."""
PAGES_LIMIT = "pages"
"""The name of the limits of pages in the metrics."""
MAX_SECONDS = 60.0
"""How long a request may take to be answered and read."""
CHUNK_BYTES = 65_536
_NOT_MODIFIED, _OK = 304, 200
_GZIP_WINDOW = 31
_REFUSED = re.compile(r";q=0(\.0*)?$")
_HEALTH = frozenset({"/healthz", "/readyz"})
_CALLED = Method(f"/{SERVICE}/{METHOD}", Operation("page", scope=None))


class PageCalls:
    """Serves `pages`. `trust` is needed to find the source of a call; `limited` counts what is refused."""

    def __init__(
        self,
        pages: WebPages,
        *,
        trust: Trust,
        log: FilteringBoundLogger,
        max_seconds: float = MAX_SECONDS,
        limited: Limited = uncounted,
    ) -> None:
        self._pages = pages
        self._trust = trust
        self._max_seconds = max_seconds
        self._reading = Slots(MAX_PAGES, MAX_PAGES_PER_SOURCE, "pages", limit=PAGES_LIMIT, limited=limited)
        self._checking = Slots(MAX_CHECKS, MAX_CHECKS_PER_SOURCE, "health checks", limited=limited)
        self._guarded = errors_interceptor(log)(self._answer)

    def routes(self) -> Routes:
        """Return the route of the service."""
        return {_CALLED.path: Route(self._serve, is_stream=True)}

    async def _serve(self, context: Context) -> None:
        call = Call(context, _CALLED)
        call.trust = self._trust
        call.head = read_metadata(context.invocation_metadata() or ())
        await self._guarded(None, call)

    async def _answer(self, _: object, call: Call) -> None:
        slots = self._checking if call.head.path in _HEALTH else self._reading
        try:
            with slots.taken(call.source):
                async with asyncio.timeout(self._max_seconds):
                    await _send(await self._find(call), call)
        except TimeoutError:
            message = f"The page was not sent within {self._max_seconds:g} s."
            raise SlowRequestError(message) from None

    async def _find(self, call: Call) -> WebPage:
        page = await self._pages.find(call.head.path) if call.head.is_rest else None
        if page is None:
            message = "Unknown request URL: there is no page with this path."
            raise NotFoundError(message, code="unknown_url")
        return page


async def _send(page: WebPage, call: Call) -> None:
    status = _NOT_MODIFIED if page.etag and knows_etag(call.head.conditions, page.etag) else page.status
    sends_gzip = page.is_gzipped and _accepts_gzip(call.context)
    headers = _headers(page)
    if status != _OK:
        headers.append((HTTP_STATUS, str(status)))
    if status != _NOT_MODIFIED:
        headers.append(("x-content-length", str(len(page.body) if sends_gzip else page.length)))
        headers += [("content-encoding", "gzip")] if sends_gzip else []
    await call.send_headers(headers)
    await call.write(HttpBody(content_type=page.media_type))
    if status != _NOT_MODIFIED and not call.head.is_head:
        for chunk in _chunks(page.body) if sends_gzip or not page.is_gzipped else _unpacked(page.body):
            await call.write(HttpBody(data=chunk))


def _headers(page: WebPage) -> Headers:
    headers = [
        ("cache-control", page.cache_control),
        ("content-security-policy", page.policy),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("vary", "accept-encoding"),
        ("x-content-type-options", "nosniff"),
    ]
    return [*headers, ("etag", page.etag)] if page.etag else headers


def _accepts_gzip(context: Context) -> bool:
    """Return whether the caller accepts gzip, without looking at qualities except zero."""
    for name, value in context.invocation_metadata() or ():
        if name == "accept-encoding" and isinstance(value, str):
            codings = [coding.replace(" ", "").lower() for coding in value.split(",")]
            return any(coding.partition(";")[0] == "gzip" and not _REFUSED.search(coding) for coding in codings)
    return False


def _chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]


def _unpacked(body: bytes) -> Iterator[bytes]:
    """Yield the bytes that are compressed in `body`, never more than a chunk at a time."""
    unpacking = zlib.decompressobj(_GZIP_WINDOW)
    while not unpacking.eof:
        yield unpacking.decompress(body, CHUNK_BYTES)
        body = unpacking.unconsumed_tail
