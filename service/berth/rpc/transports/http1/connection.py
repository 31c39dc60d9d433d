"""A connection from Envoy: reads requests, and has one call at a time."""

import asyncio
import select
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from berth.rpc.transports.context import MAX_METADATA_BYTES
from berth.rpc.transports.http1 import response
from berth.rpc.transports.http1.context import Http1Context
from berth.rpc.transports.http1.request import HeadError, read_head

READ_BYTES = 64 * 1024
LINGER_SECONDS = 10.0
"""How long Envoy may take to close a connection, after the response to a request that it had not sent completely."""
WATCH_SECONDS = 1.0
"""How often a connection that is not read is checked for its end, which is noticed only when it is read."""
_WRITE_AHEAD_BYTES = 64 * 1024


class Calls(Protocol):
    """What connections need of their server."""

    connections: "set[Connection]"
    is_draining: bool
    buffer: bytearray

    def start_call(self, call: Http1Context) -> None:
        """Start the handler of a call, or end the call."""


class Connection(asyncio.BufferedProtocol):
    """Implements `Line` for the call that it has.

    What arrives is read into the buffer of the server: it is parsed before anything else is read.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._call: Http1Context | None = None
        self._unparsed = 0
        self._is_reading = True
        self._is_refused = self._closes = False
        self.has_whole_request = True
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._when_sent: list[Callable[[], None]] = []
        self._linger: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_WRITE_AHEAD_BYTES)
        self._calls.connections.add(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where to read to."""
        del sizehint
        return self._calls.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse what was read."""
        if self._is_refused:
            return
        self._unparsed += nbytes
        try:
            self._parser.feed_data(memoryview(self._calls.buffer)[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, HeadError) else HTTPStatus.BAD_REQUEST)
        else:
            if self._unparsed > MAX_METADATA_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def eof_received(self) -> None:
        """Close the connection: Envoy never closes only its half."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the call that is running."""
        del exc
        self._calls.connections.discard(self)
        for timer in (self._linger, self._watch):
            if timer is not None:
                timer.cancel()
        self.resume_writing()
        call, self._call = self._call, None
        if call is not None:
            call.lose()
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Note that Envoy does not read."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Note that Envoy reads again."""
        self._can_write.set()
        waiting, self._when_sent = self._when_sent, []
        for done in waiting:
            done()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request. Envoy sends the next one after the response."""
        if self._call is not None or self._closes:
            raise HeadError(HTTPStatus.BAD_REQUEST)
        self._target, self._headers = b"", []
        self.has_whole_request = False

    def on_url(self, url: bytes) -> None:
        """Take a part of the path."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers of a request say nothing."""
        if self._call is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the call."""
        if self._unparsed > MAX_METADATA_BYTES:  # what has been read, with a part of the body
            self._check_size()
        self._unparsed = 0
        parser = self._parser
        request = read_head(parser.get_method(), parser.get_http_version(), self._target, self._headers)
        self._call = call = Http1Context(self, request)
        self._calls.start_call(call)

    def on_body(self, data: bytes) -> None:
        """Pass on a part of the body."""
        self._unparsed = 0
        if self._call is not None:
            self._call.feed(data)

    def on_message_complete(self) -> None:
        """Pass on the end of the body."""
        self._unparsed = 0
        self.has_whole_request = True
        if self._call is not None:
            self._call.feed_end()
        else:
            self._end_request()

    # What the call does.

    @property
    def is_draining(self) -> bool:
        """Whether the connection should be closed after the response."""
        return self._calls.is_draining

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    async def sent(self) -> None:
        """Wait until most of what was sent has left."""
        await self._can_write.wait()

    def when_sent(self, done: Callable[[], None]) -> None:
        """Call `done` once most of what was sent has left, or the connection is closed."""
        if self._can_write.is_set():
            done()
        else:
            self._when_sent.append(done)

    def set_reading(self, *, on: bool) -> None:
        """Read from the connection, or leave it to the caller to wait."""
        if on != self._is_reading:
            self._is_reading = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
                self._watch = self._watch or asyncio.get_running_loop().call_later(WATCH_SECONDS, self._check_end)

    def end_call(self, *, closes: bool) -> None:
        """Go on to the next call, or close the connection."""
        self._call, self._closes = None, closes
        self.set_reading(on=True)
        if self.has_whole_request:
            self._end_request()
        else:
            self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def break_off(self) -> None:
        """Close the connection at once."""
        self._call = None
        self._transport.abort()

    def close(self) -> None:
        """Close the connection; what was sent still arrives."""
        self._transport.close()

    def _check_end(self) -> None:
        """Close a connection that Envoy has closed while it was not read; check again later if it is still not."""
        self._watch = None
        if self._is_reading:
            return
        if _is_closed(self._transport.get_extra_info("socket").fileno()):
            self._transport.abort()
        else:
            self._watch = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._check_end)

    def _check_size(self) -> None:
        if sum(len(name) + len(value) for name, value in self._headers) + len(self._target) > MAX_METADATA_BYTES:
            raise HeadError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer what is not a request of gRPC, and close the connection; at once if a call has begun on it."""
        if self._call is not None or self._linger is not None:
            self._transport.abort()
            return
        self.send(response.plain(status))
        self._is_refused = True
        self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def _end_request(self) -> None:
        """Close the connection if that was announced in the response, now that the request is complete as well.

        Until then it is read: otherwise Envoy could fail to send the rest before it has read the response.
        """
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._closes:
            self._transport.close()


def _is_closed(descriptor: int) -> bool:
    """Return whether the other end of a socket is closed, even if there is more to read."""
    if descriptor < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, 0)  # the end is always reported
    return bool(poll.poll(0))
