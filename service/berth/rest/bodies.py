"""Derive the internal service that brings JSON bodies to Berth unparsed.

Envoy turns a JSON body into a message before the caller is authenticated, and drops unknown fields.
So in the REST view, each operation with a JSON body is bound to a method of an internal service
instead. That method has the same name and the same response; its request is a stream of the raw
bytes of the body. Envoy's view and the service that reads the bodies both derive it from the
contract.
"""

from collections.abc import Iterator

from google.api import annotations_pb2, httpbody_pb2
from google.api.annotations_pb2 import http
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

PACKAGE = "berth.rest"
SERVICE = "JsonBodies"
BODY = "body"
QUERY = ("provider",)
"""The parameters that the query of an operation with a JSON body may have."""
_WHOLE_BODY = "*"


def json_bodies(contract: FileDescriptorSet) -> FileDescriptorProto:
    """Return the file of the internal service: a method for each operation of `contract` with a JSON body."""
    file = FileDescriptorProto(name="berth/rest/bodies.proto", package=PACKAGE, syntax="proto3")
    service = file.service.add(name=SERVICE)
    imports = {annotations_pb2.DESCRIPTOR.name, httpbody_pb2.DESCRIPTOR.name}
    for method, file_name in _with_json_bodies(contract):
        rule = method.options.Extensions[http]
        file.message_type.append(_request(method.name, [*_path_parameters(rule), *QUERY]))
        bound = service.method.add(
            name=method.name,
            input_type=f".{PACKAGE}.{method.name}Body",
            output_type=method.output_type,
            client_streaming=True,
            server_streaming=method.server_streaming,
        )
        bound.options.Extensions[http].CopyFrom(rule)
        bound.options.Extensions[http].body = BODY
        imports.add(file_name)
    file.dependency.extend(sorted(imports))
    return file


def has_json_body(method: MethodDescriptorProto) -> bool:
    """Return whether the body of a method's REST request is JSON that becomes the whole message."""
    return method.options.HasExtension(http) and method.options.Extensions[http].body == _WHOLE_BODY


def _with_json_bodies(contract: FileDescriptorSet) -> Iterator[tuple[MethodDescriptorProto, str]]:
    """Yield each method with a JSON body, and the name of the file that defines its response."""
    file_names = {
        f".{file.package}.{message.name}": file.name for file in contract.file for message in file.message_type
    }
    for file in contract.file:
        for service in file.service:
            for method in service.method:
                if has_json_body(method):
                    yield method, file_names[method.output_type]


def _path_parameters(rule: HttpRule) -> list[str]:
    path: str = getattr(rule, rule.WhichOneof("pattern") or "")
    return [segment[1:-1] for segment in path.split("/") if segment.startswith("{")]


def _request(method: str, names: list[str]) -> DescriptorProto:
    message = DescriptorProto(name=f"{method}Body")
    for number, name in enumerate(names, start=1):
        message.field.add(name=name, number=number, type=FieldDescriptorProto.TYPE_STRING, label=_OPTIONAL)
    message.field.add(
        name=BODY,
        number=len(names) + 1,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=f".{httpbody_pb2.HttpBody.DESCRIPTOR.full_name}",
        label=_OPTIONAL,
    )
    return message


_OPTIONAL = FieldDescriptorProto.LABEL_OPTIONAL
