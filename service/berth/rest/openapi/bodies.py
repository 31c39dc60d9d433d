"""The bodies of requests: JSON, forms and plain bytes, with examples."""

from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from berth.rest.openapi.examples import PROVIDER
from berth.rest.openapi.schemas import NOT_IN_JSON, Schemas
from berth.rest.openapi.values import CONTENT

Json = dict[str, Any]

_FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
_FORM = (
    "A form with one file, in the part `file`, and at most 15 fields of at most 4 096 bytes each. "
    "Fields that decide where the file is stored come before it."
)
_BYTES = "The file itself, with any media type; the query has the fields that a form would have."
_COPY = "The id of a file to copy, in place of bytes. To store a JSON document as a file, send it in a form."
_NOT_IN_FORMS = frozenset({"filename", "content_type"})
_FORM_NAMES = {"expires_after.anchor": "expires_after[anchor]", "expires_after.seconds": "expires_after[seconds]"}

EXAMPLES: dict[str, dict[str, Json]] = {
    "CreateContainer": {
        "a container": {"provider": PROVIDER, "name": "my-container"},
        "with all options": {
            "provider": PROVIDER,
            "name": "analysis",
            "expires_after": {"anchor": "last_active_at", "minutes": 60},
            "memory_limit": "4g",
            "metadata": {"team": "data"},
            "network_policy": {"type": "disabled"},
        },
    },
    "CreateContainerExec": {
        "a command": {"command": "echo hello > hello.txt; ls -l", "timeout_ms": 10_000},
        "Python": {"code": {"language": "python", "source": "print(6 * 7)"}},
    },
    "StreamContainerExec": {"a command": {"command": "for i in 1 2 3; do echo $i; sleep 1; done"}},
}


def json_body(method: MethodDescriptor, schemas: Schemas, *, in_path: frozenset[str]) -> Json:
    """Return the body of an operation that takes a JSON object."""
    examples = {name: {"value": value} for name, value in EXAMPLES.get(method.name, {}).items()}
    schema = schemas.request(method.input_type, without=in_path)
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, **({"examples": examples} if examples else {})}},
    }


def upload_body(method: MethodDescriptor, parameters: list[Json]) -> Json:
    """Return the body of an upload; the `parameters` of its query are the fields of a form, too."""
    fields = {
        one["name"]: {"description": one["description"], **one["schema"], "examples": [one["example"]]}
        for one in parameters
        if one["name"] not in _NOT_IN_FORMS
    }
    takes_copies = "file_id" in method.input_type.fields_by_name
    content = {"multipart/form-data": _form(fields, takes_copies=takes_copies)}
    if takes_copies:
        names = {name: schema for name, schema in fields.items() if name not in NOT_IN_JSON}
        copy = {"type": "object", "description": _COPY, "properties": names, "required": ["file_id"]}
        content["application/json"] = {"schema": copy, "example": _example(fields, without="file")}
    content["application/octet-stream"] = {"schema": {"description": _BYTES, **_FILE}, "example": CONTENT}
    return {"required": True, "content": content}


def _form(fields: dict[str, Json], *, takes_copies: bool) -> Json:
    """Return a form with these fields; one that `takes_copies` may have the id of a file in place of a file."""
    form = {_FORM_NAMES.get(name, name): schema for name, schema in fields.items()}
    return {
        "schema": {
            "type": "object",
            "description": _FORM,
            "properties": {**form, "file": {**_FILE, "examples": [CONTENT]}},
            **({} if takes_copies else {"required": ["purpose", "file"]}),
        },
        "example": {**_example(form, without="file_id"), "file": CONTENT},
        "encoding": {"file": {"contentType": "*/*"}},
    }


def _example(fields: dict[str, Json], *, without: str) -> Json:
    return {name: schema["examples"][0] for name, schema in fields.items() if name != without}
