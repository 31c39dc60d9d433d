"""A call that arrived over HTTP/1.1."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NoReturn, Protocol

from grpc import StatusCode
from grpc.aio import AbortError

from berth.rpc.transports.context import Headers, Metadata
from berth.rpc.transports.http1 import response
from berth.rpc.transports.http1.messages import MessageError, Messages
from berth.rpc.transports.http1.request import Request

READ_AHEAD_BYTES = 64 * 1024
"""How much of a body is kept before the handler asks for it; then it may be a whole message."""
_PEER = "unix:"
_LOG = logging.getLogger(__name__)


class Line(Protocol):
    """The connection of a call."""

    @property
    def is_draining(self) -> bool:
        """Whether the connection should be closed after the response."""

    @property
    def has_whole_request(self) -> bool:
        """Whether the body is complete."""

    def send(self, data: bytes) -> None:
        """Send bytes."""

    async def sent(self) -> None:
        """Wait until most of what was sent has left."""

    def when_sent(self, done: Callable[[], None]) -> None:
        """Call `done` once most of what was sent has left, or the connection is closed."""

    def set_reading(self, *, on: bool) -> None:
        """Read from the connection, or leave it to the caller to wait."""

    def end_call(self, *, closes: bool) -> None:
        """Go on to the next call, or close the connection."""

    def break_off(self) -> None:
        """Close the connection at once."""


class Http1Context:
    """Implements `Context` on a connection: what arrives is fed to it, what the handler sends is written at once."""

    # Each download has a connection for itself, and Envoy keeps whole messages for a caller who does not read.
    piece_bytes = 128 * 1024

    def __init__(self, line: Line, request: Request) -> None:
        self.request = request
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._handler: asyncio.Task[None] | None = None
        self._deadline: float | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._messages = Messages(request.encoding)
        self._arrived: asyncio.Future[None] | None = None
        self._failure: MessageError | None = None
        self._is_lost = self._has_begun = self._has_ended = self._closes = False
        self._headers: Metadata = ()
        self._trailers: Metadata = ()
        self._when_sent: Callable[[], None] | None = None

    def start(self, handle: Callable[["Http1Context"], Awaitable[bytes | None]]) -> "asyncio.Task[None]":
        """Start the handler, and with it the time until the deadline."""
        if self.request.timeout_seconds is not None:
            self._deadline = self._loop.time() + self.request.timeout_seconds
            self._expiry = self._loop.call_at(self._deadline, self._expire)
        self._handler = self._loop.create_task(self._serve(handle))
        return self._handler

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return the metadata that the caller sent."""
        return self.request.metadata

    def peer(self) -> str:
        """Return the other end of the connection: only the own Envoy reaches it."""
        return _PEER

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return nothing: there is no handshake."""
        return {}

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call; None if it has none."""
        return None if self._deadline is None else self._deadline - self._loop.time()

    def feed(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._failure is not None:
            return
        try:
            self._messages.feed(data)
        except MessageError as error:
            self._failure = error
        if self._arrived is None:
            self._line.set_reading(on=self._messages.size < READ_AHEAD_BYTES)
        elif self._messages or self._failure:
            self._wake()

    def feed_end(self) -> None:
        """Note that the body is complete."""
        if self._messages.has_part:
            self._failure = MessageError(StatusCode.INTERNAL, "The last message is incomplete.")
        self._wake()

    def lose(self) -> None:
        """Cancel the handler: the connection is closed."""
        self._is_lost = True
        self._wake()
        self._cancel()

    async def read(self, seconds: float | None) -> bytes | None:
        """Return the next request as raw bytes, None at the end; CancelledError if the body was cut off."""
        if self._lacks_message():  # mostly it arrived with the head: then no timer is needed, which takes 6 µs
            async with asyncio.timeout(seconds):
                while self._lacks_message():
                    await self._wait()
        if not self._is_open():
            raise asyncio.CancelledError
        if not self._messages:
            if self._failure is not None:
                await self._fail(self._failure)
            return None
        try:
            message = self._messages.take()
        except MessageError as error:
            await self._fail(error)
        self._line.set_reading(on=self._messages.size < READ_AHEAD_BYTES)
        return message

    async def require_whole(self, headers: Headers) -> None:
        """Do nothing: the end that `read` returns is that of the whole body."""

    async def settle(self) -> None:
        """Do nothing: nothing is pending."""

    def attach_headers(self, headers: Headers, *, to_envoy: bool) -> None:
        """Attach headers to a unary response. For other callers than those of REST they are where grpcio has them."""
        if to_envoy:
            self._headers = headers
        else:
            self._trailers = headers

    def when_sent(self, done: Callable[[], None]) -> None:
        """Call `done` once the response has left to Envoy."""
        self._when_sent = done

    async def send_headers(self, headers: Headers) -> None:
        """Send the headers of a streamed response, before its first message."""
        self._headers = headers
        self._send(self._begin())

    async def write(self, message: bytes) -> None:
        """Send the next message of a streamed response; wait while the caller does not read."""
        chunk = response.chunk(message)
        self._send(chunk if self._has_begun else self._begin() + chunk)
        await self._line.sent()

    def end(self, code: StatusCode, details: str = "", metadata: Metadata = ()) -> None:
        """End the call with an error, if it has not ended."""
        if not self._is_open():
            return
        if self._has_begun:
            self._end(response.trailers(code, details, metadata))
        else:
            self._closes = self._line.is_draining or not self._line.has_whole_request
            self._end(response.only_trailers(code, details, metadata, closes=self._closes))

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with an error."""
        self.end(code, details, trailing_metadata)
        raise AbortError(details)

    async def break_off(self, code: StatusCode, details: str, trailing_metadata: Metadata) -> NoReturn:
        """Close the connection, so that Envoy aborts the response."""
        del code, trailing_metadata
        self._has_ended = True
        self._line.break_off()
        raise AbortError(details)

    async def _serve(self, handle: Callable[["Http1Context"], Awaitable[bytes | None]]) -> None:
        """Run the handler, and end the call as it ends."""
        try:
            self._finish(await handle(self))
        except AbortError:
            pass
        except asyncio.CancelledError:
            self.end(StatusCode.CANCELLED)
            raise
        except MessageError as error:
            self.end(error.status, error.text)
        except Exception:  # noqa: BLE001 - its text is not for callers
            _LOG.exception("A handler failed")
            self.end(StatusCode.UNKNOWN, "internal error")
        finally:
            if self._expiry is not None:
                self._expiry.cancel()
            if self._when_sent is not None:
                self._line.when_sent(self._when_sent)

    def _finish(self, message: bytes | None) -> None:
        """End the call with success, and with the message of a unary response."""
        if not self._is_open():
            return
        body = b"" if message is None else response.chunk(message)
        end = response.trailers(StatusCode.OK, metadata=self._trailers)
        # After what may fail: an error may be sent without a head only if this one is sent.
        begin = b"" if self._has_begun else self._begin(is_last=True)
        self._end(begin + body + end)

    def _begin(self, *, is_last: bool = False) -> bytes:
        """Return the head of the response, which may also be the last that is sent.

        It announces whether the connection will be closed. Others are not closed first: Envoy may be sending a request.
        """
        closes = self._line.is_draining or (is_last and not self._line.has_whole_request)
        head = response.head(self._headers, closes=closes)
        self._has_begun, self._closes = True, closes
        return head

    def _send(self, data: bytes) -> None:
        if not self._is_open():
            raise asyncio.CancelledError
        self._line.send(data)

    def _end(self, data: bytes) -> None:
        self._has_ended = True
        self._line.send(data)
        self._line.end_call(closes=self._closes)
        self._wake()

    def _is_open(self) -> bool:
        """Return whether the connection is still that of this call."""
        return not (self._has_ended or self._is_lost)

    def _expire(self) -> None:
        self.end(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        self._cancel()

    async def _fail(self, error: MessageError) -> NoReturn:
        """End the call because of its body; for the handler it is as if the caller had left."""
        self.end(error.status, error.text)
        if asyncio.current_task() is not self._handler:
            self._cancel()
        raise asyncio.CancelledError

    def _cancel(self) -> None:
        if self._handler is not None:
            self._handler.cancel()

    def _lacks_message(self) -> bool:
        """Return whether the next message or the end of the body has yet to arrive."""
        has_ended = self._failure is not None or self._line.has_whole_request
        return not (self._messages or has_ended) and self._is_open()

    async def _wait(self) -> None:
        """Wait until a message, the end of the body or that of the connection has arrived."""
        self._arrived = self._loop.create_future()
        self._line.set_reading(on=True)
        try:
            await self._arrived
        finally:
            self._arrived = None

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
