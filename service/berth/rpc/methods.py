"""From the contract's services to what grpc.aio calls: one wrapped function per method."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from berth.core.errors import InvalidRequestError
from berth.rpc.admission import Admission
from berth.rpc.call import Behavior, Call, Context, Interceptor, Method
from berth.rpc.operations import OPERATIONS, Operation
from berth.rpc.rest_request import check_path, read_names

_HANDLERS: dict[tuple[bool, bool], Callable[..., "grpc.RpcMethodHandler[Any, Any]"]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
}

Services = Mapping[ServiceDescriptor, object]
"""The contract's services, each with what has its methods."""


def service_handler(
    service: ServiceDescriptor, handlers: object, *, admit: Admission, interceptors: Sequence[Interceptor]
) -> grpc.GenericRpcHandler:
    """Return what a server serves `service` with: the methods of `handlers`, behind `admit`, inside `interceptors`."""
    methods = {
        method.name: method_handler(
            method,
            _parsing(getattr(handlers, method.name), method, admit),
            interceptors,
            streams=(method.client_streaming, method.server_streaming),
        )
        for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def method_handler(
    descriptor: MethodDescriptor, behave: Behavior, interceptors: Sequence[Interceptor], *, streams: tuple[bool, bool]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return what a server serves a method of the contract with; `streams` says whether requests and answers stream."""
    path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
    method = Method(path, OPERATIONS.get(descriptor.name, Operation(descriptor.name, reach=None)))
    for interceptor in reversed(interceptors):
        behave = interceptor(behave)

    async def handle(request: Any, context: Context) -> Any:
        return await behave(request, Call(context, method))

    return _HANDLERS[streams](handle, response_serializer=GetMessageClass(descriptor.output_type).SerializeToString)


def _parsing(behave: Behavior, descriptor: MethodDescriptor, admit: Admission) -> Behavior:
    """Parse and admit requests on the innermost step, not in grpc.

    There a malformed one would end as INTERNAL without any details, and it
    would be read before it is known who sends it. Of a stream, the first
    request is what is admitted.
    """
    message_class = GetMessageClass(descriptor.input_type)

    async def parse_one(request: bytes, call: Call) -> Any:
        message = parse_message(message_class, request)
        complete(message, call)
        await admit(message, call)
        return await behave(message, call)

    async def parsed(requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[Message]:
        is_admitted = False
        async for request in requests:
            message = parse_message(message_class, request)
            if not is_admitted:
                complete(message, call)
                await admit(message, call)
                is_admitted = True
            yield message
        await call.require_whole()

    async def parse_each(requests: AsyncIterator[bytes], call: Call) -> Any:
        try:
            return await behave(parsed(requests, call), call)
        finally:
            await call.settle()

    return parse_each if descriptor.client_streaming else parse_one


def parse_message(message_class: type[Message], request: bytes) -> Message:
    """Return the message in `request`. InvalidRequestError if it is none."""
    try:
        return message_class.FromString(request)
    except DecodeError:
        message = "The request could not be read: it is malformed, or a text in it is not UTF-8."
        raise InvalidRequestError(message, code="malformed_request") from None


def complete(message: Message, call: Call) -> None:
    """Judge the path of a REST request, and add to `message` what Envoy leaves in the query."""
    if call.is_rest:
        check_path(call.path)
        if call.query:
            read_names(call.query, message)
