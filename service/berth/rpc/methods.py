"""Turn the contract's services into routes: one wrapped function per method."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from berth.core.errors import InvalidRequestError
from berth.core.operations import OPERATIONS, Operation
from berth.rpc.call import Call, Handler, Interceptor, Method
from berth.rpc.interceptors.admission import Admission
from berth.rpc.rest_request import check_path, read_query
from berth.rpc.transports.context import Context, Route, Routes

Services = Mapping[ServiceDescriptor, object]
"""The contract's services, each with the object that has its methods."""


def service_routes(
    service: ServiceDescriptor, handlers: object, *, admit: Admission, interceptors: Sequence[Interceptor]
) -> Routes:
    """Return the routes of `service`: its `handlers`, wrapped in admission and in `interceptors`."""
    return {
        path_of(method): method_route(
            method,
            _with_parsing(getattr(handlers, method.name), method, admit),
            interceptors,
        )
        for method in service.methods
    }


def path_of(descriptor: MethodDescriptor) -> str:
    """Return the path of a method on the wire."""
    return f"/{descriptor.containing_service.full_name}/{descriptor.name}"


def method_route(descriptor: MethodDescriptor, handler: Handler, interceptors: Sequence[Interceptor]) -> Route:
    """Return the route of a method of the contract."""
    operation = OPERATIONS.get(descriptor.name, Operation(descriptor.name, scope=None))
    method = Method(path_of(descriptor), operation)
    for interceptor in reversed(interceptors):
        handler = interceptor(handler)

    async def handle(context: Context) -> bytes | None:
        response: bytes | None = await handler(None, Call(context, method))
        return response

    return Route(handle, is_stream=descriptor.server_streaming)


def _with_parsing(handler: Handler, descriptor: MethodDescriptor, admit: Admission) -> Handler:
    """Return a handler that reads, parses and admits requests before `handler` gets them.

    This happens inside all interceptors and not in grpc, which would end a malformed request with
    INTERNAL and no details. Of a stream, only the first request is admitted.
    """
    message_class = GetMessageClass(descriptor.input_type)

    async def parse_one(_: object, call: Call) -> Any:
        message = parse_message(message_class, await call.read())
        complete(message, call)
        await admit(message, call)
        return await handler(message, call)

    async def parse_stream(call: Call) -> AsyncIterator[Message]:
        is_admitted = False
        while (request := await call.read()) is not None:
            message = parse_message(message_class, request)
            if not is_admitted:
                complete(message, call)
                await admit(message, call)
                is_admitted = True
            yield message
        await call.require_whole()

    async def parse_each(_: object, call: Call) -> Any:
        call.is_arriving = True
        try:
            return await handler(parse_stream(call), call)
        finally:
            await call.settle()

    return parse_each if descriptor.client_streaming else parse_one


def parse_message(message_class: type[Message], request: bytes | None) -> Message:
    """Return the message in `request`. InvalidRequestError if it is malformed or missing."""
    if request is None:
        raise InvalidRequestError("The call has no request message.", code="malformed_request")
    try:
        return message_class.FromString(request)
    except DecodeError:
        message = "The request could not be read: it is malformed, or a text in it is not UTF-8."
        raise InvalidRequestError(message, code="malformed_request") from None


def complete(message: Message, call: Call, *, parameters: Collection[str] | None = None) -> None:
    """Check the path and query of a REST request, and set what Envoy leaves in the query in `message`.

    `parameters` are those that the query may have; None allows all fields of `message`.
    """
    if call.head.is_rest:
        check_path(call.head.path)
        if call.head.query:
            read_query(call.head.query, message, names=parameters)
