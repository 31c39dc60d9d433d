"""Build the OpenAPI document from the descriptors and comments of the contract."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

from google.api.annotations_pb2 import http
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from berth.core.operations import OPERATIONS
from berth.rest.bodies import QUERY
from berth.rest.openapi.answers import answers, error_responses
from berth.rest.openapi.bodies import json_body, upload_body
from berth.rest.openapi.comments import Comments
from berth.rest.openapi.headers import REQUEST_HEADERS, RESPONSE_HEADERS, SECURITY, SECURITY_SCHEMES, request_headers
from berth.rest.openapi.mcp import MCP_METHOD, mcp_body
from berth.rest.openapi.schemas import NOT_IN_JSON, Schemas
from berth.rest.openapi.service import SERVICE_PATHS, SERVICE_TAG
from berth.rest.openapi.values import example_value

Json = dict[str, Any]

VERSION = "v1"
_WHOLE_BODY = "*"
_TAGS = {
    "ContainerService": "Containers",
    "ContainerFileService": "Container files",
    "ContainerExecService": "Commands",
    "FileService": "Files",
    "McpService": "MCP",
    "UsageService": "Usage",
}
_ABOUT = """\
The sandbox containers that models and agents work in, the files inside them, and commands that run in them, for 23
providers. OpenAI's SDKs work with this API.

- **Paths.** Each path below `/v1` is also available under `/openai/v1` and `/openai`, where the provider is `openai`
  unless the request names another. They are not repeated here. `HEAD` works wherever `GET` does.
- **Errors** all have the form of `ErrorReply`. An unknown path is a 404, and a wrong method a 405 with the header
  `Allow`.
- **Hosted and passthrough.** The service keeps a hosted container itself; a passthrough one is kept by its provider,
  which may have limits of its own. Unknown fields of a request are an error for hosted ones, and sent on for others.
- **`null`** in a request means that an optional field is absent.
"""


def openapi_document(contract: FileDescriptorSet) -> Json:
    """Return the OpenAPI 3.1 document of `contract`."""
    pool = DescriptorPool()
    for file in contract.file:
        pool.Add(file)
    services = [
        pool.FindServiceByName(f"{file.package}.{service.name}") for file in contract.file for service in file.service
    ]
    services.sort(key=lambda service: list(_TAGS).index(service.name))
    urls = {method.name: f"{verb.upper()} {path}" for method, verb, path in _bound(services)}
    comments = Comments(contract, urls)
    schemas = Schemas(comments)
    operations = _Operations(comments, schemas)
    paths: Json = {}
    for method, verb, path in _bound(services):
        paths.setdefault(path, {})[verb] = operations.describe(method, path)
    errors = error_responses(schemas, pool.FindMessageTypeByName("berth.v1.ErrorReply"))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Berth",
            "version": VERSION,
            "summary": "The Containers API for 23 providers.",
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": SECURITY,
        "tags": [_tag(service, comments) for service in services] + [SERVICE_TAG],
        "paths": paths | SERVICE_PATHS,
        "components": {
            "securitySchemes": SECURITY_SCHEMES,
            "parameters": {name: {"name": name, "in": "header", **one} for name, one in REQUEST_HEADERS.items()},
            "headers": RESPONSE_HEADERS,
            "responses": errors,
            "schemas": schemas.components,
        },
    }


def _bound(services: list[ServiceDescriptor]) -> Iterator[tuple[MethodDescriptor, str, str]]:
    """Yield each method that has a path, with its verb and its path."""
    for method in chain.from_iterable(service.methods for service in services):
        rule = method.GetOptions().Extensions[http]
        if verb := rule.WhichOneof("pattern"):
            yield method, verb, getattr(rule, verb)


def _tag(service: ServiceDescriptor, comments: Comments) -> Json:
    return {"name": _TAGS[service.name], "description": comments.of(service.full_name)}


def _first_sentence(text: str) -> str:
    """Return the first sentence of a text, without markup and without its full stop."""
    return text.partition(". ")[0].partition("\n")[0].rstrip(".").replace("`", "")


class _Operations:
    """Describes methods as operations."""

    def __init__(self, comments: Comments, schemas: Schemas) -> None:
        self._comments = comments
        self._schemas = schemas

    def describe(self, method: MethodDescriptor, path: str) -> Json:
        """Return the operation of `method`."""
        operation = OPERATIONS[method.name]
        text = self._comments.of(method.full_name)
        in_path = frozenset(part[1:-1] for part in path.split("/") if part.startswith("{"))
        fields = method.input_type.fields_by_name
        headers = [{"$ref": f"#/components/parameters/{name}"} for name in request_headers(method.name, operation.kind)]
        body = method.GetOptions().Extensions[http].body
        if body == _WHOLE_BODY:
            request = {"requestBody": json_body(method, self._schemas, in_path=in_path)}
            query = [self._parameter(fields[name], name, is_in="query") for name in fields if name in QUERY]
        elif method.name == MCP_METHOD:
            request = {"requestBody": mcp_body()}
            query = []
        else:
            query = list(self._query(method.input_type, in_path))
            request = {"requestBody": upload_body(method, query)} if body else {}
        path_parameters = [self._parameter(fields[name], name, is_in="path") for name in fields if name in in_path]
        return {
            "operationId": method.name[0].lower() + method.name[1:],
            "tags": [_TAGS[method.containing_service.name]],
            "summary": _first_sentence(text),
            "description": text,
            "parameters": [*path_parameters, *query, *headers],
            **request,
            "responses": answers(method, operation, self._schemas, has_body=bool(body)),
        }

    def _query(self, message: Descriptor, in_path: frozenset[str], prefix: str = "") -> Iterator[Json]:
        """Yield the parameters of the query: the fields that are not in the path, also those of messages."""
        for field in message.fields:
            is_list_of_messages = field.is_repeated and field.message_type is not None
            if field.name in in_path or field.name in NOT_IN_JSON or is_list_of_messages:
                continue
            if field.message_type is not None:
                yield from self._query(field.message_type, frozenset(), f"{prefix}{field.name}.")
            else:
                yield self._parameter(field, f"{prefix}{field.name}", is_in="query")

    def _parameter(self, field: FieldDescriptor, name: str, *, is_in: str) -> Json:
        schema = self._schemas.field(field, is_request=True)
        description = schema.pop("description", "")
        needed = {"required": True} if is_in == "path" else {}
        if is_in == "path":
            schema |= {"minLength": 1}
        example = example_value(field, name, is_in=is_in)
        return {"name": name, "in": is_in, **needed, "description": description, "schema": schema, "example": example}
