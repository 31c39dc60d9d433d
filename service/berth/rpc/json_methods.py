"""Serve methods with a JSON body, which REST callers reach through an internal service.

Each method of that service is the contract's method of the same name: it has the same interceptors,
operation, limits, log line and handler. Callers are authenticated and within their limits before
the first byte of a body is read.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from berth.core.validation import require_same
from berth.rpc.bodies.json_bodies import read_json
from berth.rpc.bodies.json_fields import ADDITIONAL, fill
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.admission import Admission
from berth.rpc.methods import Services, complete, method_route, parse_message, path_of
from berth.rpc.transports.context import Routes

BODY = "body"


@dataclass(frozen=True, slots=True)
class JsonBodies:
    """The internal service, and how many bytes a body may have.

    The limit is `max_bytes`, plus the bytes for text that `room_for_text` gives for the method.
    """

    service: ServiceDescriptor
    max_bytes: int
    room_for_text: Mapping[str, int]


def json_routes(
    bodies: JsonBodies, services: Services, *, admit: Admission, interceptors: Sequence[Interceptor]
) -> Routes:
    """Return the routes of the internal service of `bodies`, for `services` of the contract."""
    contract = {method.name: (method, owner) for service, owner in services.items() for method in service.methods}
    routes = {}
    for bound in bodies.service.methods:
        descriptor, owner = contract[bound.name]
        reader = partial(read_json, maximum=bodies.max_bytes, room_for_text=bodies.room_for_text.get(bound.name, 0))
        handler = _with_json_body(getattr(owner, bound.name), bound, descriptor, admit=admit, reader=reader)
        routes[path_of(bound)] = method_route(descriptor, handler, interceptors)
    return routes


def _with_json_body(
    handler: Handler,
    bound: MethodDescriptor,
    descriptor: MethodDescriptor,
    *,
    admit: Admission,
    reader: Callable[[str, AsyncIterator[bytes]], Awaitable[object]],
) -> Handler:
    """Return a handler that reads the request of the contract's method `descriptor` from the stream of `bound`.

    The fields in path and query, if any, are admitted before the body is read; the whole request is
    admitted after that.
    """
    head_class, request_class = GetMessageClass(bound.input_type), GetMessageClass(descriptor.input_type)
    in_path = [name for name in bound.input_type.fields_by_name if name not in {BODY, *_QUERY}]
    in_body = frozenset(descriptor.input_type.fields_by_name) - {ADDITIONAL, *in_path}

    async def read(_: object, call: Call) -> Any:
        head: Any = parse_message(head_class, await call.read())
        request: Any = request_class()
        for name in in_path:
            setattr(request, name, getattr(head, name))
        complete(request, call, parameters=_QUERY)
        named = request.provider
        if named or in_path:
            await admit(_copy(request), call)
        call.waiting.expect_json()
        fill(request, await reader(head.body.content_type, body_bytes(head, call)), names=in_body)
        request.provider = require_same("provider", named or None, request.provider or named)
        await admit(request, call)
        return await handler(request, call)

    return read


async def body_bytes(head: Any, call: Call) -> AsyncIterator[bytes]:
    """Yield the bytes of the body that begins in the request `head`.

    If its length is known, the end of the stream is not awaited.
    """
    yield head.body.data
    seen = len(head.body.data)
    while seen != call.head.content_length and (message := await call.read()) is not None:
        part: Any = parse_message(type(head), message)
        seen += len(part.body.data)
        yield part.body.data


_QUERY = ("provider",)


def _copy(request: Any) -> Any:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy
