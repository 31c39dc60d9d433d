"""Health and reflection: the calls that need no credential, and their limits.

Nothing is known about their callers, so they get little: small requests that arrive soon, few
calls at a time per address, and few in total. None of this counts against the calls of others.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection_pb2

from berth.core.errors import InvalidRequestError, RateLimitError
from berth.rpc.call import Context
from berth.rpc.metadata import read_metadata
from berth.rpc.peer import Trust, source_of

MAX_REQUEST_BYTES = 4096
"""Above the longest name of a service or symbol."""
READ_SECONDS = 10.0
"""How long the next request may take to arrive."""
MAX_READING, MAX_READING_PER_SOURCE = 16, 2
"""Calls without a request so far: each may hold a whole message until its size is known."""
MAX_RUNNING, MAX_RUNNING_PER_SOURCE = 256, 64
"""Calls in all; health checks are counted by themselves, because watches stay for as long as their callers do."""
HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

M = TypeVar("M", bound=Message)
Handler = Any
"""A method handler of grpc."""


class PublicCalls:
    """Serves health and reflection within their limits. `trust` is needed to find the source of a call."""

    def __init__(
        self, health: health_aio.HealthServicer, reflection: Any, *, trust: Trust, read_seconds: float = READ_SECONDS
    ) -> None:
        self._health = health
        self._reflection = reflection
        self._trust = trust
        self._read_seconds = read_seconds
        self._reading = _Slots(MAX_READING, MAX_READING_PER_SOURCE)
        self._checking = _Slots(MAX_RUNNING, MAX_RUNNING_PER_SOURCE)
        self._staying = _Slots(MAX_RUNNING, MAX_RUNNING_PER_SOURCE)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Return the handlers of the services."""
        health = {
            "Check": _unary(self._check, health_pb2.HealthCheckResponse),
            "Watch": _stream(self._watch, health_pb2.HealthCheckResponse),
        }
        reflection = {"ServerReflectionInfo": _stream(self._reflect, reflection_pb2.ServerReflectionResponse)}
        services = {HEALTH: health, **dict.fromkeys(REFLECTION, reflection)}
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    async def _check(self, _: object, context: Context) -> Any:
        async for request in self._requests(health_pb2.HealthCheckRequest, context, self._checking):
            return await self._health.Check(request, context)
        return await _abort(context, InvalidRequestError("The call has no request message."))

    async def _watch(self, _: object, context: Context) -> None:
        async for request in self._requests(health_pb2.HealthCheckRequest, context, self._staying):
            await self._health.Watch(request, context)

    async def _reflect(self, _: object, context: Context) -> None:
        requests = self._requests(reflection_pb2.ServerReflectionRequest, context, self._staying)
        async for response in self._reflection.ServerReflectionInfo(requests, context):
            await context.write(response)

    async def _requests(self, kind: type[M], context: Context, running: "_Slots") -> AsyncIterator[M]:
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
            async with asyncio.timeout(self._read_seconds):
                message = await context.read()
        except TimeoutError:
            raise InvalidRequestError(f"No request arrived within {self._read_seconds:g} s.") from None
        return None if message is grpc.aio.EOF else message

    def _source(self, context: Context) -> str:
        head = read_metadata(context.invocation_metadata() or ())
        return source_of(context.peer(), head.forwarded, trust=self._trust)


class _Slots:
    """Counts calls, in total and by source."""

    def __init__(self, maximum: int, maximum_per_source: int) -> None:
        self._maximum = maximum
        self._maximum_per_source = maximum_per_source
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, source: str) -> Iterator[None]:
        """Take a slot until the context ends. RateLimitError if there is none."""
        if self._taken[source] >= self._maximum_per_source or self._taken.total() >= self._maximum:
            message = "Too many health or reflection calls at a time."
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


def _unary(serve: Any, response: type[Message]) -> Handler:
    return grpc.stream_unary_rpc_method_handler(serve, response_serializer=response.SerializeToString)


def _stream(serve: Any, response: type[Message]) -> Handler:
    return grpc.stream_stream_rpc_method_handler(serve, response_serializer=response.SerializeToString)
