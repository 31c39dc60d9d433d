"""The `Call` object: what handlers and interceptors know about a call, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

from berth.core.auth.rate_limits import Quota
from berth.core.caller import Caller
from berth.core.exec.backend import ExecBackend
from berth.core.observation.trace_context import TraceContext
from berth.core.operations import Operation
from berth.core.ports.backend import Backend
from berth.core.ports.file_backend import FileBackend
from berth.core.providers import PROVIDER_NAMES
from berth.core.usage.prices import NANO
from berth.rpc.metadata import Head
from berth.rpc.patience import Waiting
from berth.rpc.peer import NO_TRUST, client_certificate, source_of
from berth.rpc.status import REPLAYED, Refusal
from berth.rpc.tls.check import ClientCertificate
from berth.rpc.tls.forwarded import FORWARDED_CERTIFICATE
from berth.rpc.transports.context import Context, Headers
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

BUDGET_REMAINING = "x-budget-remaining-usd"
"""The header that says what is left of the budget of the caller's key, in US dollars."""
HTTP_STATUS = "x-berth-status"
"""The metadata that asks Envoy for an HTTP status that no gRPC status maps to."""
DEADLINE_SLACK_SECONDS = 0.05
"""The caller's clock may end a call this much earlier than the deadline known here."""
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
    `is_own_account` is whether the container is in an account of the caller's own at a provider.
    """

    containers: Backend | None = None
    files: FileBackend | None = None
    execs: ExecBackend | None = None
    container_id: str = ""
    is_own_account: bool = False
    choose_provider: Callable[[Provider], None] | None = None


@dataclass(slots=True)
class Outcome:
    """How a call ended.

    `status` is the gRPC status, and `code` that of an error of Berth's own. `has_begun` is True
    once part of a streamed response was sent. `upstream_milliseconds` is the time that a provider
    took, None if no provider was asked.
    """

    status: str = "CANCELLED"
    code: str | None = None
    has_begun: bool = False
    is_replayed: bool = False
    upstream_milliseconds: int | None = None


class Call:
    """A gRPC call in progress.

    The request interceptor sets `head` and `trust`, auth sets `identity`, limits set `quota`, and
    admission sets `admitted`. `provider` is the provider that the call is about, as far as it is
    known. `check_before_change` raises an error if nothing may be created or deleted at the moment.
    `is_arriving` says that an upload has not arrived completely, so nothing of it is stored.
    `bytes_in` and `bytes_out` are the bytes of requests, and of the content that was sent, so
    far. `caller_trace` says in which trace the caller is, and `trace_id` is
    that of the trace to which the call belongs, or one made of the id of the request.
    `budget_remaining` is what is left of the caller's budget, in nano-dollars; None if it has
    none.
    """

    __slots__ = (
        "_is_settled",
        "admitted",
        "budget_remaining",
        "bytes_in",
        "bytes_out",
        "caller_trace",
        "check_before_change",
        "context",
        "head",
        "identity",
        "is_arriving",
        "method",
        "outcome",
        "provider",
        "quota",
        "trace_id",
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
        self.check_before_change: Callable[[], None] = _allow
        self.outcome = Outcome()
        self.bytes_in = self.bytes_out = 0
        self.budget_remaining: int | None = None
        self.caller_trace: TraceContext | None = None
        self.trace_id = ""
        self.is_arriving = False
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

    def certificate(self) -> ClientCertificate | None:
        """Return the caller's certificate; None if there is none."""
        peer, handshake = self.context.peer(), self.context.auth_context()
        forwarded = self.head.forwarded.get(FORWARDED_CERTIFICATE)
        return client_certificate(peer, handshake, forwarded, trust=self.trust)

    @property
    def containers(self) -> Backend:
        """The backend that answers. It is known to every handler, because admission runs before handlers."""
        return _require_admitted(self.admitted.containers)

    @property
    def files(self) -> FileBackend:
        """The file backend that answers. For a new file it is known once the provider is chosen."""
        return _require_admitted(self.admitted.files)

    @property
    def execs(self) -> ExecBackend:
        """The backend that answers requests about commands."""
        return _require_admitted(self.admitted.execs)

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

    def cancellation_status(self) -> str:
        """Return the status of a call that was cancelled: its deadline has passed, or the caller disconnected."""
        seconds = self.context.time_remaining()
        return "CANCELLED" if seconds is None or seconds > DEADLINE_SLACK_SECONDS else "DEADLINE_EXCEEDED"

    def headers(self) -> Headers:
        """Return the headers that every response carries."""
        return [("x-request-id", self.head.request_id), *self._info_headers()]

    def attach_headers(self) -> None:
        """Attach the headers to a unary response."""
        self.context.attach_headers(self.headers(), to_envoy=self.head.is_rest)

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
        if self.budget_remaining is not None:
            headers.append((BUDGET_REMAINING, _dollars(self.budget_remaining)))
        return headers

    def set_quota(self, quota: Quota) -> None:
        """Report the caller's remaining quota in every response."""
        self.quota = quota

    async def read(self) -> bytes | None:
        """Return the next request as raw bytes, None at the end. SlowRequestError if it takes too long."""
        began = monotonic()
        try:
            request = await self.context.read(self.waiting.seconds())
        except TimeoutError:
            raise self.waiting.too_slow() from None
        if request is None:
            return None
        self.bytes_in += len(request)
        self.waiting.count(len(request), monotonic() - began)
        return request

    async def require_whole(self) -> None:
        """Check, after the last request, that the caller ended the stream; raise CancelledError if it was cut off.

        Also check again whether something may be created: that was long ago if the stream is an upload.
        """
        if self._is_settled:
            raise asyncio.CancelledError  # the reader was already asked to stop
        self.check_before_change()
        await self.context.require_whole(self.headers())
        self.is_arriving = False

    async def settle(self) -> None:
        """Wait until the transport is ready for the response, which may be there before all requests are read."""
        self._is_settled = True
        await self.context.settle()

    async def send_headers(self, headers: Headers) -> None:
        """Send the headers of a streamed response, before its first message."""
        await self.context.send_headers([*self.headers(), *headers])

    async def write(self, message: HttpBody) -> None:
        """Send the next message of a streamed response."""
        self.outcome.has_begun = True
        self.bytes_out += len(message.data)
        await self.context.write(message.SerializeToString())

    async def send_event(self, message: Message) -> None:
        """Send the next message of a streamed response that is no content."""
        self.outcome.has_begun = True
        event = message.SerializeToString()
        self.bytes_out += len(event)
        await self.context.write(event)

    async def refuse(self, refused: Refusal) -> NoReturn:
        """End the call with an error."""
        self.outcome.status = refused.status.name
        trailers: list[tuple[str, str | bytes]] = [*self.headers(), *refused.headers]
        trailers.append(("grpc-status-details-bin", refused.details))
        if self.head.is_rest and refused.http_override is not None:
            trailers.append((HTTP_STATUS, str(refused.http_override)))
        if self.outcome.has_begun and self.head.is_rest:
            # Too late for an error over REST: Envoy would end the response as if it were complete.
            await self.context.break_off(refused.status, refused.message, trailers)
        await self.context.abort(refused.status, refused.message, trailers)


def _allow() -> None:
    """Allow a change."""


def _require_admitted(value: T | None) -> T:
    if value is None:
        raise RuntimeError("a handler ran before admission")
    return value


def _quota_headers(quota: Quota) -> Headers:
    """Return the caller's remaining quota in the headers that OpenAI uses."""
    return [
        ("x-ratelimit-limit-requests", str(quota.limit)),
        ("x-ratelimit-remaining-requests", str(quota.remaining)),
        ("x-ratelimit-reset-requests", f"{ceil(quota.reset_seconds)}s"),
    ]


def _dollars(nano_usd: int) -> str:
    """Return an amount in dollars, 0 if it is negative."""
    return f"{max(0, nano_usd) / NANO:.6f}"


Handler = Callable[[Any, Call], Awaitable[Any]]
"""Answers a call: takes its request or requests, returns its response, or None after it wrote responses itself."""

Interceptor = Callable[[Handler], Handler]
"""Wraps a handler in another handler."""
