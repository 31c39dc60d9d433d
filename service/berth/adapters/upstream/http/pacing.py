"""PacedConnector: connections on which one call cannot take the time of all others.

A provider can answer in very many very small pieces: interim responses (1xx), chunks of one byte, packets of
one byte. Reading those takes far more time per byte than usual, so the connection is read with pauses then,
in which the system collects what arrives.
"""

import asyncio
from functools import partial
from time import thread_time
from typing import Any

from aiohttp import ClientPayloadError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError

MAX_INTERIM_RESPONSES = 100
"""How many interim responses (1xx) may come before a response; providers send one or two, if any."""
FREE_SECONDS = 0.02
"""How much time in excess of the usual a call may take before its connection is paused."""
SHARE = 0.05
"""The share of the time in excess that a call may take from then on."""
WAKE_UP_SECONDS = 200e-6
"""The cost of passing on what was received at once, however little it was."""
USUAL_SECONDS_PER_BYTE = 20e-9
"""What reading a byte may cost: several times of what it does in pieces of an ordinary size."""
_SMALLEST_SLICE, _LARGEST_SLICE = 4096, 64 * 1024
"""How much is read at once without checking the time."""


class PacedConnector(TCPConnector):
    """A TCPConnector with paced connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp has no public option for the protocol of its connections.
        self._factory = partial(PacedHandler, loop=self._loop)  # type: ignore[assignment]


class PacedHandler(ResponseHandler):
    """The protocol of a connection, which measures what a call costs and pauses reading if that is too much."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._held = b""
        self._going_on: asyncio.Handle | None = None
        self._start_call()

    def _start_call(self) -> None:
        self._interim = self._final = 0
        self._slice = _SMALLEST_SLICE
        self._credit = FREE_SECONDS
        self._credited_at = self._loop.time()

    def set_response_params(self, **options: Any) -> None:
        """Prepare for the response to a new request, for which the limits begin anew."""
        self._start_call()
        super().set_response_params(**options)

    @property
    def should_close(self) -> bool:
        """Whether the connection must not be used again."""
        return bool(self._held) or super().should_close

    def data_received(self, data: bytes) -> None:
        """Read what has arrived, as far as the call may; keep the rest for later."""
        if not data:  # the reader has made room, and the parser goes on with what it has
            self._parse(data)
            if self._held and self._going_on is None:
                self._going_on = self._loop.call_soon(self._go_on)
        elif self._held or self._going_on is not None:
            self._held += data
        else:
            self._credit -= WAKE_UP_SECONDS
            self._read(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the connection, without what has not been read."""
        if self._going_on is not None:
            self._going_on.cancel()
        self._held = b""
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """End the connection with an error. aiohttp does not report a malformed response to the reader of its body."""
        super().set_exception(exc, *cause)
        if isinstance(exc, HttpProcessingError) and self._payload is not None and not self._payload.is_eof():
            self._payload.set_exception(ClientPayloadError("Malformed response"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a response that was read. Too many, or ones that were not asked for, end the connection."""
        is_interim = 100 <= data[0].code < 200 and data[0].code != 101  # noqa: PLR2004 - the interim statuses of HTTP
        self._interim += is_interim
        self._final += not is_interim
        if self._interim <= MAX_INTERIM_RESPONSES and self._final <= 1:
            super().feed_data(data, size)
        elif self.transport is not None and not self.transport.is_closing():
            self.transport.close()
            self.set_exception(BadHttpMessage("Too many responses"))

    def _read(self, data: bytes) -> None:
        """Read `data` in slices, until it ends or the call must pause."""
        at = 0
        while at < len(data) and self.transport is not None and not self.transport.is_closing():
            if self._credit < 0 or self._reading_paused:
                self._hold(data[at:])
                return
            piece = data[at : at + self._slice]
            at += len(piece)
            self._parse(piece)

    def _parse(self, piece: bytes) -> None:
        began = thread_time()
        super().data_received(piece)
        self._charge(len(piece), thread_time() - began)

    def _charge(self, size: int, seconds: float) -> None:
        """Charge the call for reading a slice beyond what is usual; one that costs less pays for wake-ups."""
        excess = seconds - size * USUAL_SECONDS_PER_BYTE
        self._slice = _SMALLEST_SLICE if excess > 0 else min(2 * self._slice, _LARGEST_SLICE)
        self._credit -= excess
        self._earn()

    def _earn(self) -> None:
        """Credit the share of the time since the last call."""
        now = self._loop.time()
        self._credit = min(FREE_SECONDS, self._credit + (now - self._credited_at) * SHARE)
        self._credited_at = now

    def _hold(self, rest: bytes) -> None:
        """Keep `rest` until the call has earned what it has taken, or the reader has made room."""
        self._held = rest
        self._pause_reading_for_buffer()
        if self._credit < 0:
            self._going_on = self._loop.call_later(-self._credit / SHARE, self._go_on)

    def _go_on(self) -> None:
        self._going_on = None
        held, self._held = self._held, b""
        self._earn()
        self._read(held)
        if not self._held:
            self._resume_reading_for_buffer()
