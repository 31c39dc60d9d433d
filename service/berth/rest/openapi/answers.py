"""The answers of operations: resources, content, streams of events and errors."""

from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import MethodDescriptor

from berth.core.operations import Operation, Scope
from berth.rest.openapi.examples import answer_example, error_example
from berth.rest.openapi.headers import OF_CONTENT, OF_EVERY_ANSWER, header_references, request_headers
from berth.rest.openapi.mcp import MCP_METHOD, mcp_answers
from berth.rest.openapi.schemas import Schemas
from berth.rest.openapi.values import CONTENT, PART

Json = dict[str, Any]

ERRORS: dict[str, tuple[str, str]] = {
    "400": ("BadRequest", "The request is invalid, or cannot be executed: `error.code` and `error.param` say why."),
    "401": ("Unauthorized", "There is no credential, a wrong one, or two different ones."),
    "402": ("BudgetExceeded", "The budget of the key does not suffice for another container."),
    "403": ("Forbidden", "The key is inactive or expired, or may not use this provider."),
    "404": ("NotFound", "It does not exist, or belongs to another tenant."),
    "408": ("TooSlow", "The request, or its body, arrived too slowly."),
    "409": (
        "Conflict",
        "A request with the same idempotency key is running or its outcome is unknown, or another command is running.",
    ),
    "412": ("PreconditionFailed", "The file does not match `If-Match`."),
    "415": ("UnsupportedMediaType", "The media type of the body is not supported."),
    "416": ("RangeNotSatisfiable", "The range begins after the end of the file."),
    "429": ("TooManyRequests", "A limit is exceeded, or too many commands are running."),
    "431": ("HeadersTooLarge", "The headers are too large, or there are too many."),
    "500": ("InternalError", "A fault of the service; the message has the id of the request and nothing more."),
    "503": ("Unavailable", "The provider, the storage or the service itself failed."),
    "504": ("TimedOut", "The provider, or the request, took too long."),
}
_HEADERS = {
    "401": ("WWW-Authenticate",),
    "402": ("x-should-retry",),
    "409": ("retry-after", "x-should-retry"),
    "416": ("Content-Range",),
    "429": ("retry-after",),
    "503": ("retry-after", "x-should-retry"),
    "504": ("x-should-retry",),
}
_BUDGET_EXCEEDED = "402"
_EVERYWHERE = ("400", "401", "403", "404", "408", "429", "431", "500", "503", "504")
_OF_BODIES = ("409", "415")
_OF_HEADERS = {"If-Match": "412", "Range": "416"}
_EVENTS = (
    "Events of the type `ExecEvent`, each in a line of its own after `data: `. A stream without the event `ended` is "
    "incomplete: follow it from its last `sequence`."
)
_LINES = "Events of the type `ExecEvent`, each a line of JSON."
_EVENT_EXAMPLE = '{"sequence":2,"type":"output","stdout":"hello\\n"}'


def error_responses(schemas: Schemas, error: Any) -> Json:
    """Return the components of all errors, with the message `error`."""
    return {name: _error(schemas.response(error), status, text) for status, (name, text) in ERRORS.items()}


def _error(schema: Json, status: str, text: str) -> Json:
    return {
        "description": text,
        "headers": header_references(*OF_EVERY_ANSWER, *_HEADERS.get(status, ())),
        "content": {"application/json": {"schema": schema, **error_example(status)}},
    }


def answers(method: MethodDescriptor, operation: Operation, schemas: Schemas, *, has_body: bool) -> Json:
    """Return all answers of a method by status."""
    read = request_headers(method.name, operation.kind)
    statuses = {*_EVERYWHERE, *(status for name, status in _OF_HEADERS.items() if name in read)}
    if has_body:
        statuses.update(_OF_BODIES)
    if operation.scope is Scope.NEW_CONTAINER:
        statuses.add(_BUDGET_EXCEEDED)
    errors = {status: {"$ref": f"#/components/responses/{ERRORS[status][0]}"} for status in sorted(statuses)}
    if method.name == MCP_METHOD:
        return mcp_answers(header_references(*OF_EVERY_ANSWER), errors)
    return {**_successes(method, schemas), **errors}


def _successes(method: MethodDescriptor, schemas: Schemas) -> Json:
    if not method.server_streaming:
        schema = schemas.response(method.output_type)
        content = {"application/json": {"schema": schema, **answer_example(method.name)}}
        return {"200": _success("Done.", content, "idempotent-replayed")}
    if method.output_type.full_name != HttpBody.DESCRIPTOR.full_name:
        schemas.response(method.output_type)
        return {"200": _success("The events.", _event_streams(), "idempotent-replayed")}
    return {
        "200": _success("The file, with its own media type.", _bytes(CONTENT), *OF_CONTENT),
        "206": _success("The requested range.", _bytes(PART), *OF_CONTENT, "Content-Range"),
        "304": {"description": "The caller has the file.", "headers": header_references("ETag", "Last-Modified")},
    }


def _success(text: str, content: Json, *headers: str) -> Json:
    return {"description": text, "headers": header_references(*OF_EVERY_ANSWER, *headers), "content": content}


def _bytes(example: str) -> Json:
    return {"*/*": {"schema": {"type": "string", "format": "binary"}, "example": example}}


def _event_streams() -> Json:
    """Return both forms of a stream. OpenAPI 3.1 cannot say what its lines are, except in words."""
    return {
        "text/event-stream": {
            "schema": {"type": "string", "description": _EVENTS},
            "example": f"data: {_EVENT_EXAMPLE}\n\n",
        },
        "application/x-ndjson": {
            "schema": {"type": "string", "description": _LINES},
            "example": f"{_EVENT_EXAMPLE}\n",
        },
    }
