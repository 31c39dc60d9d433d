"""One call: what handlers and interceptors know of it, and how it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
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
from berth.rpc.peer import FORWARDED_CERTIFICATE, NO_TRUST, certificate_names, source_of
from berth.rpc.status import REPLAYED, Refusal
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

HTTP_STATUS = "x-berth-status"
"""Asks Envoy for an HTTP status that gRPC has no word for."""
Context = grpc.aio.ServicerContext[Any, Any]
Headers = list[tuple[str, str]]
T = TypeVar("T")


class Method(NamedTuple):
    """A method of the contract: its name on the wire, and what is known of it."""

    path: str
    operation: Operation

    @property
    def request_type(self) -> str:
        """Its name in answers, logs and headers."""
        return self.operation.request_type


class NamesProvider(Protocol):
    """A request that may name a provider."""

    provider: Provider


@dataclass(slots=True)
class Admitted:
    """What admission decided: the backend that may answer, and the container that the request names.

    `choose_provider` is set for a new file whose form may name the provider.
    """

    containers: Backend | None = None
    files: FileBackend | None = None
    container_id: str = ""
    choose_provider: Callable[[Provider], None] | None = None


@dataclass(slots=True)
class Outcome:
    """How a call ended.

    `status` is that of gRPC; `has_begun` says that a part of a streamed answer was
    sent; `upstream_milliseconds` is how long a provider took, if one was asked.
    """

    status: str = "CANCELLED"
    has_begun: bool = False
    is_replayed: bool = False
    upstream_milliseconds: int | None = None


class Call:
    """A call that is being answered.

    `head` and `trust` are set by the request interceptor, `identity` by auth, `quota`
    by limits and `admitted` by admission. `provider` is the provider in play, as far
    as it is known.
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
    )

    def __init__(self, context: Context, method: Method) -> None:
        self.context = context
        self.method = method
        self.head = Head()
        self.trust = NO_TRUST
        self.identity: Caller | None = None
        self.quota: Quota | None = None
        self.provider: Provider = PROVIDER_UNSPECIFIED
        self.admitted = Admitted()
        self.outcome = Outcome()
        self._sending: asyncio.Future[None] | None = None
        self._is_settled = False

    @property
    def caller(self) -> Caller:
        """Who is calling; known to every handler, since auth comes before it."""
        if self.identity is None:
            raise RuntimeError("a handler ran before auth")
        return self.identity

    @property
    def source(self) -> str:
        """The address that the call comes from."""
        return source_of(self.context.peer(), self.head.forwarded, trust=self.trust)

    def certificate_names(self) -> list[str]:
        """Return the alternative names in the caller's certificate; none if there is no certificate."""
        peer, handshake = self.context.peer(), self.context.auth_context()
        forwarded = self.head.forwarded.get(FORWARDED_CERTIFICATE)
        return certificate_names(peer, handshake, forwarded, trust=self.trust)

    @property
    def containers(self) -> Backend:
        """The backend that answers; known to every handler, since admission comes before it."""
        return _known(self.admitted.containers)

    @property
    def files(self) -> FileBackend:
        """The backend of files that answers; known to every handler, once a new file has its provider."""
        return _known(self.admitted.files)

    def choose_provider(self, named: Provider) -> None:
        """Choose the backend of a new file for the provider `named` in its form, or the default one.

        Raises what Router.backend raises.
        """
        _known(self.admitted.choose_provider)(named)

    @property
    def provider_name(self) -> str | None:
        """The short name of the provider in play; None if none is, or it is no provider."""
        return PROVIDER_NAMES.get(self.provider)

    def provider_of(self, request: NamesProvider) -> Provider:
        """Return the provider that `request` names; where it names none, the path's own becomes it."""
        request.provider = self.provider = request.provider or self.head.default_provider
        return self.provider

    def headers(self) -> Headers:
        """Return the headers that every answer carries."""
        return [("x-request-id", self.head.request_id), *self._facts()]

    def attach_headers(self) -> None:
        """Send the headers of a unary answer along with it.

        Metadata before the answer would cost a quarter more time, and metadata
        behind it never gets past Envoy's transcoder: REST callers get their
        headers from the status message, which Envoy takes apart (see
        rest/answers.lua) after it has put the request id on by itself.
        """
        if self.head.is_rest:
            self.context.set_details(";".join(f"{name}={value}" for name, value in self._facts()))
        else:
            self.context.set_trailing_metadata(self.headers())

    def _facts(self) -> Headers:
        facts = [("x-bifrost-request-type", self.method.request_type)]
        if self.provider_name:
            facts.append(("x-bifrost-provider", self.provider_name))
        if self.outcome.upstream_milliseconds is not None:
            facts.append(("x-bifrost-upstream-latency-ms", str(self.outcome.upstream_milliseconds)))
        if self.outcome.is_replayed:
            facts.append(REPLAYED)
        if self.quota is not None:
            facts += _left(self.quota)
        return facts

    def set_quota(self, quota: Quota) -> None:
        """Tell the caller in every answer what is left of its requests."""
        self.quota = quota

    async def read(self) -> bytes | None:
        """Return the next request of a stream as it came; None at its end. It costs less than the stream itself."""
        message = await self.context.read()
        return None if message is grpc.aio.EOF else message

    async def require_whole(self) -> None:
        """Make sure, behind the last request, that the caller ended the stream; cancelled if not.

        A stream that broke off reads in grpc.aio like one that has ended, and a
        moment passes until the call is cancelled for it. Sending waits for that
        moment; so the headers, which are due anyway, are sent here. What is read
        once the call is settled, by somebody who was told to stop, is nothing.
        """
        if self._is_settled:
            raise asyncio.CancelledError
        self._sending = asyncio.ensure_future(self.context.send_initial_metadata(self.headers()))
        self._sending.add_done_callback(_look_at)
        await asyncio.shield(self._sending)

    async def settle(self) -> None:
        """Let no headers be on their way when the call ends: grpc.aio would then lose the end of it.

        The requests may be read by another task than the one that answers, which
        may have an answer before all is read.
        """
        self._is_settled = True
        if self._sending is not None:
            await asyncio.wait([self._sending])

    async def send_headers(self, headers: Headers) -> None:
        """Send the headers of a streamed answer, before its first message."""
        await self.context.send_initial_metadata([*self.headers(), *headers])

    async def write(self, message: Message) -> None:
        """Send the next message of a streamed answer."""
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
            # Too late for an error over REST: Envoy would end the answer as if it were whole. HTTP/2 forbids this
            # header, so Envoy breaks the answer off instead, and the client sees that it is not.
            trailers.append(("connection", "close"))
        await self.context.abort(refused.status, refused.message, trailing_metadata=tuple(trailers))


def _known(value: T | None) -> T:
    if value is None:
        raise RuntimeError("a handler ran before admission")
    return value


def _look_at(sending: "asyncio.Future[None]") -> None:
    """Look at how sending ended: to a caller that is gone it fails, which nobody has to be told."""
    if not sending.cancelled():
        sending.exception()


def _left(quota: Quota) -> Headers:
    """Return what is left of a caller's requests, in the headers of OpenAI."""
    return [
        ("x-ratelimit-limit-requests", str(quota.limit)),
        ("x-ratelimit-remaining-requests", str(quota.remaining)),
        ("x-ratelimit-reset-requests", f"{ceil(quota.reset_seconds)}s"),
    ]


Handler = Callable[[Any, Call], Awaitable[Any]]
"""Answers a call: from its request, or requests, to its response, or None once responses are written."""

Interceptor = Callable[[Handler], Handler]
"""Wraps what a method does."""
