"""Derive the internal service through which Envoy gets web pages and the health of Berth.

It is no part of the contract: only the REST view has it. Pages come from the service and not from
Envoy, so that they also exist where Envoy is a sidecar of a mesh.
"""

from google.api import annotations_pb2, httpbody_pb2
from google.api.annotations_pb2 import http
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from berth.rest.bodies import PACKAGE

SERVICE, METHOD = "Pages", "GetPage"
PATHS = (
    "/",
    "/openapi.json",
    "/docs",
    "/docs/{name}",
    "/console",
    "/console/{name=**}",
    "/healthz",
    "/readyz",
)
"""The paths of pages. The service reads the path as it was sent, and none of these fields."""


def page_service() -> FileDescriptorProto:
    """Return the file of the internal service."""
    file = FileDescriptorProto(name="berth/rest/pages.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend([annotations_pb2.DESCRIPTOR.name, httpbody_pb2.DESCRIPTOR.name])
    request = file.message_type.add(name="PageRequest")
    request.field.add(
        name="name", number=1, type=FieldDescriptorProto.TYPE_STRING, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    method = file.service.add(name=SERVICE).method.add(
        name=METHOD,
        input_type=f".{PACKAGE}.{request.name}",
        output_type=f".{httpbody_pb2.HttpBody.DESCRIPTOR.full_name}",
        server_streaming=True,
    )
    rule = method.options.Extensions[http]
    rule.get = PATHS[0]
    for path in PATHS[1:]:
        rule.additional_bindings.add(get=path)
    return file
