"""What a call needs of its transport, and the methods that transports serve."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from grpc import StatusCode

Headers = list[tuple[str, str]]
Metadata = Sequence[tuple[str, str | bytes]]

MAX_MESSAGE_BYTES = 24 * 1024 * 1024
"""For one request or response message. No message is read before the caller is known."""
MAX_METADATA_BYTES = 96 * 1024
"""More than Envoy's 32 KiB of headers, which arrive with the path twice."""
MAX_CONCURRENT_CALLS = 2048
"""More than Envoy's limit on concurrent requests. Further calls get RESOURCE_EXHAUSTED from the transport."""

TOO_MANY_CALLS = "Concurrent RPC limit exceeded!"
"""What a call beyond them gets, in the words of grpc."""
TRANSPORT_LIMIT = "transport"
"""The name of this limit in the metrics."""
Limited = Callable[[str], None]
"""Counts a call that a limit has refused, by the name of the limit."""


class Context(Protocol):
    """A call, as its transport knows it. Messages are bytes, in both directions.

    If the caller disconnects, or the deadline of the call passes, the task of its handler is cancelled.
    """

    @property
    def piece_bytes(self) -> int:
        """How much of a file a message of a response should have at most."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return the metadata that the caller sent; values are bytes if their names end in `-bin`."""

    def peer(self) -> str:
        """Return the other end of the connection, as grpc names it: `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` or `unix:`."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what grpc reports about the TLS handshake."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call; None if it has none."""

    async def read(self, seconds: float | None) -> bytes | None:
        """Return the next request as raw bytes, None at the end, also if the caller was cut off there.

        TimeoutError if it does not arrive within `seconds`, of which None is any time.
        """

    async def require_whole(self, headers: Headers) -> None:
        """Raise CancelledError if the requests were cut off. `headers` may be sent meanwhile."""

    async def settle(self) -> None:
        """Wait until pending headers are sent, before the handler returns its response."""

    def attach_headers(self, headers: Headers, *, to_envoy: bool) -> None:
        """Attach headers to a unary response; with `to_envoy` Envoy makes headers of a REST response of them."""

    def when_sent(self, done: Callable[[], None]) -> None:
        """Call `done` once a unary response has left, for which the caller has to read it, or the call is over."""

    async def send_headers(self, headers: Headers) -> None:
        """Send the headers of a streamed response, before its first message."""

    async def write(self, message: bytes) -> None:
        """Send the next message of a streamed response; wait while the caller does not read."""

    async def abort(self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with an error."""

    async def break_off(self, code: StatusCode, details: str, trailing_metadata: Metadata) -> NoReturn:
        """End a streamed response of which a part was sent, so that Envoy does not end it as if it were complete."""


def uncounted(_: str) -> None:
    """Count nothing."""


class Route(NamedTuple):
    """A method as transports serve it: how it answers a call, and whether its responses are a stream.

    Requests are always a stream, which is the same on the wire: a transport would read a single request, of any size,
    before the caller is known. `handle` returns the response as bytes, or None after it wrote responses itself.
    """

    handle: Callable[[Context], Awaitable[bytes | None]]
    is_stream: bool


Routes = Mapping[str, Route]
"""All methods by their paths, such as `/berth.v1.FileService/ListFiles`."""
