"""Health and reflection: the calls that need no credential, and their limits.

Nothing is known about their callers, so they get little: small requests that arrive soon, few
calls at a time per address, and few in total. None of this counts against the calls of others.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from berth.core.auth.sources import network_of
from berth.core.errors import InvalidRequestError, RateLimitError
from berth.rpc.metadata import read_metadata
from berth.rpc.peer import Trust, source_of
from berth.rpc.transports.context import Context, Limited, Route, Routes, uncounted

MAX_REQUEST_BYTES = 4096
"""Above the longest name of a service or symbol."""
READ_SECONDS = 10.0
"""How long the next request may take to arrive."""
MAX_READING, MAX_READING_PER_SOURCE = 16, 2
"""Calls without a request so far: each may hold a whole message until its size is known."""
MAX_RUNNING, MAX_RUNNING_PER_SOURCE = 256, 64
"""Calls in all; health checks are counted by themselves, because watches stay for as long as their callers do."""
RECENT_SECONDS = 15.0
"""A balancer checks the health more often than this."""
HEALTH_LIMIT = "health"
"""The name of the limits of what tells the state of the service, in the metrics."""
HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

M = TypeVar("M", bound=Message)


class PublicCalls:
    """Serves health and reflection within their limits.

    `trust` is needed to find the source of a call; `limited` counts what is refused.
    """

    def __init__(
        self,
        health: Any,
        reflection: Any,
        *,
        trust: Trust,
        read_seconds: float = READ_SECONDS,
        limited: Limited = uncounted,
    ) -> None:
        self._health = health
        self._reflection = reflection
        self._trust = trust
        self._read_seconds = read_seconds
        self._reading = Slots(MAX_READING, MAX_READING_PER_SOURCE, limited=limited)
        self._checking = Slots(MAX_RUNNING, MAX_RUNNING_PER_SOURCE, limited=limited)
        self._staying = Slots(MAX_RUNNING, MAX_RUNNING_PER_SOURCE, limited=limited)
        self._checked_at = float("-inf")

    def was_checked(self) -> bool:
        """Return whether the health was asked for in the last RECENT_SECONDS."""
        return time.monotonic() - self._checked_at < RECENT_SECONDS

    def routes(self) -> Routes:
        """Return the routes of the services."""
        health = {
            f"/{HEALTH}/Check": Route(self._check, is_stream=False),
            f"/{HEALTH}/Watch": Route(self._watch, is_stream=True),
        }
        reflection = Route(self._reflect, is_stream=True)
        return health | {f"/{name}/ServerReflectionInfo": reflection for name in REFLECTION}

    async def _check(self, context: Context) -> bytes | None:
        async for request in self._requests(health_pb2.HealthCheckRequest, context, self._checking):
            self._checked_at = time.monotonic()
            response: Message = await self._health.Check(request, _MessageContext(context))
            return response.SerializeToString()
        await _abort(context, InvalidRequestError("The call has no request message."))
        return None

    async def _watch(self, context: Context) -> None:
        async for request in self._requests(health_pb2.HealthCheckRequest, context, self._staying):
            await self._health.Watch(request, _MessageContext(context))

    async def _reflect(self, context: Context) -> None:
        requests = self._requests(reflection_pb2.ServerReflectionRequest, context, self._staying)
        async for response in self._reflection.ServerReflectionInfo(requests, context):
            await context.write(response.SerializeToString())

    async def _requests(self, kind: type[M], context: Context, running: "Slots") -> AsyncIterator[M]:
        """Yield the requests of a call, and end the call if it exceeds a limit."""
        source = self._source(context)
        try:
            with running.taken(source):
                while True:
                    with self._reading.taken(source):
                        message = await self._next(context)
                    if message is None:
                        return
                    yield _parsed(kind, message)
        except (InvalidRequestError, RateLimitError) as error:
            await _abort(context, error)

    async def _next(self, context: Context) -> bytes | None:
        """Return the next request as it came, None at the end. InvalidRequestError if it does not come in time."""
        try:
            return await context.read(self._read_seconds)
        except TimeoutError:
            raise InvalidRequestError(f"No request arrived within {self._read_seconds:g} s.") from None

    def _source(self, context: Context) -> str:
        head = read_metadata(context.invocation_metadata())
        return source_of(context.peer(), head.forwarded, trust=self._trust)


class _MessageContext:
    """What grpc's health service needs of a call: it writes messages."""

    def __init__(self, context: Context) -> None:
        self.abort = context.abort
        self._context = context

    async def write(self, message: Message) -> None:
        """Send the next message of a streamed response."""
        await self._context.write(message.SerializeToString())


class Slots:
    """Counts calls of a kind, in total and by source. `limited` counts those that are refused, by their `limit`."""

    def __init__(
        self,
        maximum: int,
        maximum_per_source: int,
        kind: str = "health or reflection calls",
        *,
        limit: str = HEALTH_LIMIT,
        limited: Limited = uncounted,
    ) -> None:
        self._kind = kind
        self._limit = limit
        self._limited = limited
        self._maximum = maximum
        self._maximum_per_source = maximum_per_source
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, source: str) -> Iterator[None]:
        """Take a slot until the context ends. RateLimitError if there is none."""
        source = network_of(source)
        if self._taken[source] >= self._maximum_per_source or self._taken.total() >= self._maximum:
            self._limited(self._limit)
            message = f"Too many {self._kind} at a time."
            raise RateLimitError(message, code="request_limited", retry_after_seconds=1)
        self._taken[source] += 1
        try:
            yield
        finally:
            self._taken[source] -= 1
            if not self._taken[source]:
                del self._taken[source]


def _parsed(kind: type[M], message: bytes) -> M:
    if len(message) > MAX_REQUEST_BYTES:
        raise InvalidRequestError(f"The request has more than {MAX_REQUEST_BYTES} bytes.")
    try:
        return kind.FromString(message)
    except DecodeError:
        raise InvalidRequestError("The request is malformed.") from None


async def _abort(context: Context, error: InvalidRequestError | RateLimitError) -> None:
    is_limit = isinstance(error, RateLimitError)
    await context.abort(
        grpc.StatusCode.RESOURCE_EXHAUSTED if is_limit else grpc.StatusCode.INVALID_ARGUMENT, error.message
    )
