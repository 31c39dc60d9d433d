"""Methods of the contract whose request comes as a JSON body: REST callers reach them through an internal service.

Each is the method of the contract that has its name: with the same interceptors,
operation, limits and log line, and the same handler. Callers are known and within
their limits before the first byte of a body is read.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from berth.rpc.bodies.json_bodies import read_json
from berth.rpc.bodies.json_fields import ADDITIONAL, fill
from berth.rpc.bodies.uploads import same
from berth.rpc.call import Call, Handler, Interceptor
from berth.rpc.interceptors.admission import Admission
from berth.rpc.methods import Services, complete, method_handler, parse_message

BODY = "body"


@dataclass(frozen=True, slots=True)
class JsonBodies:
    """The internal `service`, and how many bytes a body may have: `max_bytes`, and more for text by method."""

    service: ServiceDescriptor
    max_bytes: int
    room_for_text: Mapping[str, int]


def json_handler(
    bodies: JsonBodies, services: Services, *, admit: Admission, interceptors: Sequence[Interceptor]
) -> grpc.GenericRpcHandler:
    """Return what a server serves the internal service of `bodies` with, for `services` of the contract."""
    contract = {method.name: (method, owner) for service, owner in services.items() for method in service.methods}
    methods = {}
    for bound in bodies.service.methods:
        descriptor, owner = contract[bound.name]
        reader = partial(read_json, maximum=bodies.max_bytes, room_for_text=bodies.room_for_text.get(bound.name, 0))
        handler = _reading(getattr(owner, bound.name), bound, descriptor, admit=admit, reader=reader)
        methods[bound.name] = method_handler(descriptor, handler, interceptors)
    return grpc.method_handlers_generic_handler(bodies.service.full_name, methods)


def _reading(
    handler: Handler,
    bound: MethodDescriptor,
    descriptor: MethodDescriptor,
    *,
    admit: Admission,
    reader: Callable[[str, AsyncIterator[bytes]], Awaitable[object]],
) -> Handler:
    """Make a request of the contract's method `descriptor` of the stream that `bound` takes, and admit it.

    What path and query name is admitted before the body is read, and again with it.
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
        fill(request, await reader(head.body.content_type, _bytes(head, call)), names=in_body)
        request.provider = same("provider", named or None, request.provider or named)
        await admit(request, call)
        return await handler(request, call)

    async def _bytes(head: Any, call: Call) -> AsyncIterator[bytes]:
        """Yield the bytes of the body. Where its length is known, its end is not waited for."""
        yield head.body.data
        seen = len(head.body.data)
        while seen != call.head.content_length and (message := await call.read()) is not None:
            part: Any = parse_message(head_class, message)
            seen += len(part.body.data)
            yield part.body.data

    return read


_QUERY = ("provider",)


def _copy(request: Any) -> Any:
    copy = type(request)()
    copy.CopyFrom(request)
    return copy
