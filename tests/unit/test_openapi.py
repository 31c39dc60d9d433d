"""The OpenAPI document, as it is generated from the contract."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema_rs import validator_for
from openapi_spec_validator import validate

from berth.core.caller import MAX_IDEMPOTENCY_KEY_LENGTH, MAX_OPTION_LENGTH
from berth.rest.openapi.answers import ERRORS
from berth.rest.openapi.document import openapi_document
from berth.rest.view import ALIASES, load_contract, methods_by_path, rest_view
from berth.rpc.options import CONTENT_ENCODING, HEADERS
from berth.rpc.status import TABLE
from support.error_codes import error_codes

DOCUMENT = openapi_document(load_contract())
NOT_FOR_REST = re.compile(
    r"(?<!JSON-)\bg?RPCs?\b|\bprotos?\b|[A-Z]{3,}_[A-Z_]+|first message|initial metadata|\bin the call\b"
)


def operations() -> Iterator[tuple[str, Any]]:
    """Yield each operation with its path."""
    for path, verbs in DOCUMENT["paths"].items():
        for verb, operation in verbs.items():
            yield f"{verb.upper()} {path}", operation


def texts(part: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text for people, with its place."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name in {"description", "summary"} and isinstance(value, str):
                yield f"{place}/{name}", value
            else:
                yield from texts(value, f"{place}/{name}")
    if isinstance(part, list):
        for index, value in enumerate(part):
            yield from texts(value, f"{place}/{index}")


def found(part: Any, name: str, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a field with this name, with its place."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if key == name:
            yield place, value
        if key not in {"example", "examples"}:
            yield from found(value, name, f"{place}/{key}")


def examples(described: Any) -> list[Any]:
    """Return the examples of a parameter, header or media type, of which there is at least one."""
    return [one["value"] for one in described.get("examples", {}).values()] or [described["example"]]


def require_valid(described: Any, place: str) -> None:
    """Fail unless all examples fit the schema."""
    schema = {"components": DOCUMENT["components"], **described["schema"]}
    for example in examples(described):
        assert [*validator_for(schema).iter_errors(example)] == [], place
        assert example not in ("", [], {}), place


def test_the_document_is_valid() -> None:
    """The document is one of OpenAPI 3.1."""
    validate(DOCUMENT)


def test_it_has_every_operation() -> None:
    """Each path and method of the REST view is there, except for the aliases."""
    paths = methods_by_path(rest_view(load_contract()))
    wanted = {path: verbs - {"HEAD"} for path, verbs in paths.items() if path.startswith("/v1/")}
    found = {path: {verb.upper() for verb in verbs} for path, verbs in DOCUMENT["paths"].items()}
    assert {path: verbs for path, verbs in found.items() if path.startswith("/v1/")} == wanted
    assert all(alias.rstrip("/") in DOCUMENT["info"]["description"] for alias in ALIASES)


def test_an_error_always_has_its_fields() -> None:
    """Clients with types read the message, parameter and code of an error without asking whether they are there."""
    schemas = DOCUMENT["components"]["schemas"]
    assert set(schemas["ErrorReply"]["required"]) == set(schemas["ErrorReply"]["properties"])
    assert set(schemas["ErrorDetail"]["required"]) == set(schemas["ErrorDetail"]["properties"])


def test_texts_are_for_rest_callers() -> None:
    """No text speaks of gRPC, its statuses or its messages."""
    assert {place: text for place, text in texts(DOCUMENT) if NOT_FOR_REST.search(text)} == {}


def test_everything_is_described() -> None:
    """Each operation, parameter and property has a description."""
    parameters = [one for _, operation in operations() for one in operation.get("parameters", ()) if "$ref" not in one]
    properties = [
        one | {"name": f"{name}.{field}"}
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, one in schema.get("properties", {}).items()
    ]
    described = [operation for _, operation in operations()] + parameters + properties
    assert [one for one in described if not one.get("description")] == []


def test_each_body_has_an_example() -> None:
    """Whatever is sent or returned, as JSON, form, bytes or events, has an example that fits its schema."""
    bodies = [(place, kind, one) for place, kinds in found(DOCUMENT, "content") for kind, one in kinds.items()]
    assert {"multipart/form-data", "application/octet-stream", "*/*"} <= {kind for _, kind, _ in bodies}
    for place, kind, body in bodies:
        require_valid(body, f"{place} {kind}")


def test_each_parameter_and_header_has_an_example() -> None:
    """Each parameter of a path or query, each header and each field of a form has an example that fits its schema."""
    parameters = [one for _, all_of_one in found(DOCUMENT["paths"], "parameters") for one in all_of_one]
    inline = [one for one in parameters if "$ref" not in one]
    assert {one["in"] for one in inline} == {"path", "query"}
    components = DOCUMENT["components"]
    for one in [*inline, *components["parameters"].values(), *components["headers"].values()]:
        require_valid(one, str(one))
    for place, form in found(DOCUMENT, "multipart/form-data"):
        for name, schema in form["schema"]["properties"].items():
            require_valid({"schema": schema, "example": schema["examples"][0]}, f"{place}/{name}")


def test_each_error_in_the_examples_exists() -> None:
    """The example of an error has one of the codes of the service, and belongs to its status."""
    codes = error_codes()
    for place, body in found(DOCUMENT, "application/json"):
        for example in examples(body):
            if isinstance(example, dict) and "status_code" in example:
                assert example["error"]["code"] in {None, *codes}
                assert ERRORS[str(example["status_code"])][0] == place.split("/")[-2]


def test_numbers_are_those_of_the_service() -> None:
    """Limits of the contract are keywords of the schemas."""
    create = DOCUMENT["components"]["schemas"]["CreateContainerRequest"]["properties"]
    assert (create["name"]["minLength"], create["name"]["maxLength"]) == (1, 256)
    assert create["file_ids"]["maxItems"] == 50
    assert create["metadata"]["maxProperties"] == 16
    assert create["metadata"]["propertyNames"] == {"minLength": 1, "maxLength": 64}
    assert create["metadata"]["additionalProperties"] == {"type": "string", "maxLength": 512}
    parameters = DOCUMENT["components"]["parameters"]
    assert parameters["x-bf-cache-key"]["schema"]["maxLength"] == MAX_OPTION_LENGTH
    assert parameters["Idempotency-Key"]["schema"]["maxLength"] == MAX_IDEMPOTENCY_KEY_LENGTH
    run = DOCUMENT["components"]["schemas"]["CreateContainerExecRequest"]["properties"]
    assert (run["argv"]["maxItems"], run["argv"]["items"]["maxLength"]) == (1024, 131_071)


@pytest.mark.parametrize(("path", "most"), [("/v1/containers", 100), ("/v1/files", 10_000)])
def test_pages_have_their_limits(path: str, most: int) -> None:
    """The size of a page has the bounds of its list."""
    limit = next(one for one in DOCUMENT["paths"][path]["get"]["parameters"] if one.get("name") == "limit")
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, most)


def test_a_list_in_a_query_is_described() -> None:
    """A parameter that can be given several times has the values that it may have; what it adds may be absent."""
    include = next(
        one for one in DOCUMENT["paths"]["/v1/containers"]["get"]["parameters"] if one.get("name") == "include"
    )
    assert include["schema"] == {"type": "array", "items": {"type": "string", "enum": ["bytes"]}}
    container = DOCUMENT["components"]["schemas"]["Container"]
    assert "bytes" in set(container["properties"]) - set(container["required"])


def test_it_has_every_request_header() -> None:
    """Each header that sets an option is there; that bodies are not compressed needs no parameter."""
    named = {name.lower() for name in DOCUMENT["components"]["parameters"]}
    assert HEADERS - {CONTENT_ENCODING} <= named


def test_it_has_every_status() -> None:
    """Each HTTP status that an error of the service has is described, and belongs to an operation."""
    statuses = {str(row.http) for row in TABLE.values()}
    listed = {status for _, operation in operations() for status in operation["responses"]}
    assert statuses <= listed


@pytest.mark.parametrize("name", ["CreateContainerRequest", "CreateContainerExecRequest", "StreamContainerExecRequest"])
def test_json_bodies_have_no_fields_of_other_places(name: str) -> None:
    """A JSON body has neither what the path says nor the fields that only gRPC has."""
    assert not {"container_id", "additional_fields", "body"} & set(
        DOCUMENT["components"]["schemas"][name]["properties"]
    )
