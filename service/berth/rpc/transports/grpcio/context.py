"""A call that arrived through grpc.aio."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import grpc.aio
from grpc import StatusCode

from berth.rpc.transports.context import Headers, Metadata


class GrpcContext:
    """Implements `Context` on what grpc.aio gives a handler."""

    __slots__ = ("_context", "_sending")

    piece_bytes = 1024 * 1024

    def __init__(self, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._context = context
        self._sending: asyncio.Future[None] | None = None

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return the metadata that the caller sent."""
        return self._context.invocation_metadata() or ()

    def peer(self) -> str:
        """Return the other end of the connection."""
        return self._context.peer()

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what grpc reports about the TLS handshake."""
        return self._context.auth_context()

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call; None if it has none."""
        return self._context.time_remaining()

    async def read(self, seconds: float | None) -> bytes | None:
        """Return the next request as raw bytes, None at the end. This costs less CPU than iterating over the stream."""
        async with asyncio.timeout(seconds):
            message = await self._context.read()
        return None if message is grpc.aio.EOF else message

    async def require_whole(self, headers: Headers) -> None:
        """Raise CancelledError if the requests were cut off.

        In grpc.aio, a stream that was cut off first looks like one that has ended; a moment later
        the call is cancelled. Sending something waits for that moment, so the initial headers,
        which are due anyway, are sent here.
        """
        self._sending = asyncio.ensure_future(self._context.send_initial_metadata(headers))
        self._sending.add_done_callback(_retrieve_exception)
        with _cancelled_if_gone():
            await asyncio.shield(self._sending)

    async def settle(self) -> None:
        """Wait until pending headers are sent: grpc.aio loses the end of a call that ends before that.

        Requests may be read in a different task than the one that answers, and the response may be
        ready before all requests are read.
        """
        if self._sending is not None:
            await asyncio.wait([self._sending])

    def attach_headers(self, headers: Headers, *, to_envoy: bool) -> None:
        """Attach headers to a unary response.

        Metadata ahead of the response would cost a quarter more time, and Envoy's transcoder drops
        metadata after it. So REST callers get their headers through the status message, which Envoy
        turns into headers (see rest/envoy/answers.lua). Envoy adds the request id itself.
        """
        if to_envoy:
            pairs = [f"{name}={value}" for name, value in headers if name != "x-request-id"]
            self._context.set_details(";".join(pairs))
        else:
            self._context.set_trailing_metadata(headers)

    def when_sent(self, done: Callable[[], None]) -> None:
        """Call `done` once the call is over; grpc.aio sends the response within it."""
        self._context.add_done_callback(cast("Any", lambda _: done()))  # its stubs take a class for a protocol

    async def send_headers(self, headers: Headers) -> None:
        """Send the headers of a streamed response, before its first message."""
        with _cancelled_if_gone():
            await self._context.send_initial_metadata(headers)

    async def write(self, message: bytes) -> None:
        """Send the next message of a streamed response; CancelledError if the caller has disconnected."""
        with _cancelled_if_gone():
            await self._context.write(message)

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with an error."""
        await self._context.abort(code, details, tuple(trailing_metadata))

    async def break_off(self, code: StatusCode, details: str, trailing_metadata: Metadata) -> NoReturn:
        """End the call with an error and a header that HTTP/2 forbids, so that Envoy aborts the response."""
        await self.abort(code, details, (*trailing_metadata, ("connection", "close")))


@contextmanager
def _cancelled_if_gone() -> Iterator[None]:
    """Raise CancelledError if something cannot be sent: the call is over, of which grpc.aio may tell a moment later."""
    try:
        yield
    except grpc.aio.InternalError as error:
        raise asyncio.CancelledError from error


def _retrieve_exception(sending: "asyncio.Future[None]") -> None:
    """Retrieve the exception of a failed send, which is expected if the caller has disconnected."""
    if not sending.cancelled():
        sending.exception()
