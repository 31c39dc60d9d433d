"""The `Call` object: what handlers and interceptors know about a call, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

import grpc.aio
from google.protobuf.message import Message

from berth.core.auth.rate_limits import Quota
from berth.core.caller import Caller
from berth.core.operations import Operation
from berth.core.ports.backend import Backend
from berth.core.ports.file_backend import FileBackend
from berth.core.providers import PROVIDER_NAMES
from berth.rpc.metadata import Head
from berth.rpc.patience import Waiting
from berth.rpc.peer import FORWARDED_CERTIFICATE, NO_TRUST, certificate_names, source_of
from berth.rpc.status import REPLAYED, Refusal
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

HTTP_STATUS = "x-berth-status"
"""The metadata that asks Envoy for an HTTP status that no gRPC status maps to."""
Context = grpc.aio.ServicerContext[Any, Any]
Headers = list[tuple[str, str]]
T = TypeVar("T")


class Method(NamedTuple):
    """A method of the contract: its path on the wire and its operation."""

    path: str
    operation: Operation

    @property
    def request_type(self) -> str:
        """The operation's name in responses, logs and headers."""
        return self.operation.request_type


class NamesProvider(Protocol):
    """A request that may name a provider."""

    provider: Provider


@dataclass(slots=True)
class Admitted:
    """The result of admission: the backend that answers the request, and the container that the request names.

    `choose_provider` is set only for a new file, because its form may name the provider.
    """

    containers: Backend | None = None
    files: FileBackend | None = None
    container_id: str = ""
    choose_provider: Callable[[Provider], None] | None = None


@dataclass(slots=True)
class Outcome:
    """How a call ended.

    `status` is the gRPC status. `has_begun` is True once part of a streamed response was sent.
    `upstream_milliseconds` is the time that a provider took, None if no provider was asked.
    """

    status: str = "CANCELLED"
    has_begun: bool = False
    is_replayed: bool = False
    upstream_milliseconds: int | None = None


class Call:
    """A gRPC call in progress.

    The request interceptor sets `head` and `trust`, auth sets `identity`, limits set `quota`, and
    admission sets `admitted`. `provider` is the provider that the call is about, as far as it is
    known.
    """

    __slots__ = (
        "_is_settled",
        "_sending",
        "admitted",
        "context",
        "head",
        "identity",
        "method",
        "outcome",
        "provider",
        "quota",
        "trust",
        "waiting",
    )

    def __init__(self, context: Context, method: Method) -> None:
        self.context = context
        self.method = method
        self.head = Head()
        self.trust = NO_TRUST
        self.waiting = Waiting()
        self.identity: Caller | None = None
        self.quota: Quota | None = None
        self.provider: Provider = PROVIDER_UNSPECIFIED
        self.admitted = Admitted()
        self.outcome = Outcome()
        self._sending: asyncio.Future[None] | None = None
        self._is_settled = False

    @property
    def caller(self) -> Caller:
        """The authenticated caller. It is known to every handler, because auth runs before handlers."""
        if self.identity is None:
            raise RuntimeError("a handler ran before auth")
        return self.identity

    @property
    def source(self) -> str:
        """The address that the call comes from."""
        return source_of(self.context.peer(), self.head.forwarded, trust=self.trust)

    def certificate_names(self) -> Sequence[str]:
        """Return the alternative names in the caller's certificate; empty without a certificate."""
        peer, handshake = self.context.peer(), self.context.auth_context()
        forwarded = self.head.forwarded.get(FORWARDED_CERTIFICATE)
        return certificate_names(peer, handshake, forwarded, trust=self.trust)

    @property
    def containers(self) -> Backend:
        """The backend that answers. It is known to every handler, because admission runs before handlers."""
        return _require_admitted(self.admitted.containers)

    @property
    def files(self) -> FileBackend:
        """The file backend that answers. For a new file it is known once the provider is chosen."""
        return _require_admitted(self.admitted.files)

    def choose_provider(self, named: Provider) -> None:
        """Choose the backend of a new file: that of the provider `named` in its form, or of the default provider.

        Raises what Router.provider_for_new and Router.backend raise.
        """
        _require_admitted(self.admitted.choose_provider)(named)

    @property
    def provider_name(self) -> str | None:
        """The short name of `provider`; None if it is unspecified or unknown."""
        return PROVIDER_NAMES.get(self.provider)

    def provider_of(self, request: NamesProvider) -> Provider:
        """Return the provider that `request` names, or else the default provider of the path.

        The provider is also stored in the request and in the call.
        """
        request.provider = self.provider = request.provider or self.head.default_provider
        return self.provider

    def headers(self) -> Headers:
        """Return the headers that every response carries."""
        return [("x-request-id", self.head.request_id), *self._info_headers()]

    def attach_headers(self) -> None:
        """Attach the headers to a unary response.

        Metadata ahead of the response would cost a quarter more time, and Envoy's transcoder drops
        metadata after it. So REST callers get their headers through the status message, which Envoy
        turns into headers (see rest/envoy/answers.lua). Envoy adds the request id itself.
        """
        if self.head.is_rest:
            self.context.set_details(";".join(f"{name}={value}" for name, value in self._info_headers()))
        else:
            self.context.set_trailing_metadata(self.headers())

    def _info_headers(self) -> Headers:
        headers = [("x-bifrost-request-type", self.method.request_type)]
        if self.provider_name:
            headers.append(("x-bifrost-provider", self.provider_name))
        if self.outcome.upstream_milliseconds is not None:
            headers.append(("x-bifrost-upstream-latency-ms", str(self.outcome.upstream_milliseconds)))
        if self.outcome.is_replayed:
            headers.append(REPLAYED)
        if self.quota is not None:
            headers += _quota_headers(self.quota)
        return headers

    def set_quota(self, quota: Quota) -> None:
        """Report the caller's remaining quota in every response."""
        self.quota = quota

    async def read(self) -> bytes | None:
        """Return the next request as raw bytes, None at the end. SlowRequestError if it takes too long.

        This costs less CPU than iterating over the stream.
        """
        began = monotonic()
        try:
            async with asyncio.timeout(self.waiting.seconds()):
                message = await self.context.read()
        except TimeoutError:
            raise self.waiting.too_slow() from None
        if message is grpc.aio.EOF:
            return None
        request: bytes = message
        self.waiting.count(len(request), monotonic() - began)
        return request

    async def require_whole(self) -> None:
        """Check, after the last request, that the caller ended the stream; raise CancelledError if it was cut off.

        In grpc.aio, a stream that was cut off first looks like one that has ended; a moment later
        the call is cancelled. Sending something waits for that moment, so the initial headers,
        which are due anyway, are sent here. After `settle` this always raises CancelledError,
        because the reader was already asked to stop.
        """
        if self._is_settled:
            raise asyncio.CancelledError
        self._sending = asyncio.ensure_future(self.context.send_initial_metadata(self.headers()))
        self._sending.add_done_callback(_retrieve_exception)
        await asyncio.shield(self._sending)

    async def settle(self) -> None:
        """Wait until pending headers are sent: grpc.aio loses the end of a call that ends before that.

        Requests may be read in a different task than the one that answers, and the response may be
        ready before all requests are read.
        """
        self._is_settled = True
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def send_headers(self, headers: Headers) -> None:
        """Send the headers of a streamed response, before its first message."""
        await self.context.send_initial_metadata([*self.headers(), *headers])

    async def write(self, message: Message) -> None:
        """Send the next message of a streamed response."""
        self.outcome.has_begun = True
        await self.context.write(message)

    async def refuse(self, refused: Refusal) -> NoReturn:
        """End the call with an error."""
        self.outcome.status = refused.status.name
        trailers: list[tuple[str, str | bytes]] = [*self.headers(), *refused.headers]
        trailers.append(("grpc-status-details-bin", refused.details))
        if self.head.is_rest and refused.http_override is not None:
            trailers.append((HTTP_STATUS, str(refused.http_override)))
        if self.outcome.has_begun and self.head.is_rest:
            # Too late for an error over REST: Envoy would end the response as if it were complete. HTTP/2 forbids
            # this header, so Envoy aborts the response instead, and the client sees that it is incomplete.
            trailers.append(("connection", "close"))
        await self.context.abort(refused.status, refused.message, trailing_metadata=tuple(trailers))


def _require_admitted(value: T | None) -> T:
    if value is None:
        raise RuntimeError("a handler ran before admission")
    return value


def _retrieve_exception(sending: "asyncio.Future[None]") -> None:
    """Retrieve the exception of a failed send, which is expected if the caller has disconnected."""
    if not sending.cancelled():
        sending.exception()


def _quota_headers(quota: Quota) -> Headers:
    """Return the caller's remaining quota in the headers that OpenAI uses."""
    return [
        ("x-ratelimit-limit-requests", str(quota.limit)),
        ("x-ratelimit-remaining-requests", str(quota.remaining)),
        ("x-ratelimit-reset-requests", f"{ceil(quota.reset_seconds)}s"),
    ]


Handler = Callable[[Any, Call], Awaitable[Any]]
"""Answers a call: takes its request or requests, returns its response, or None after it wrote responses itself."""

Interceptor = Callable[[Handler], Handler]
"""Wraps a handler in another handler."""
