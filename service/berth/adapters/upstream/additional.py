"""Writes additional fields, which the contract does not define, into JSON bodies and forms for a provider."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from google.protobuf.struct_pb2 import Value

from berth.core.additional_fields import form_name, place_of
from berth.core.validation import check_text
from berth.v1.additional_field_pb2 import AdditionalField

_MAX_EXACT_INTEGER = 2**53
_MAX_NAME_LENGTH = 1024


def with_additional(body: dict[str, Any], fields: Iterable[AdditionalField]) -> dict[str, Any]:
    """Add `fields` to `body` at their paths, and return it. A field without a parent in `body` is skipped."""
    for field in fields:
        target: Any = body
        for step in field.path[:-1]:
            target = _child(target, step)
        if isinstance(target, dict) and field.path:
            target[field.path[-1]] = json_of(field.value)
    return body


def form_fields(fields: Iterable[AdditionalField]) -> list[tuple[str, str]]:
    """Return `fields` as form fields, in the same order; values other than text are written as JSON.

    InvalidRequestError for a name that has control characters or is too long.
    """
    return [(_form_name(field.path), _form_text(json_of(field.value))) for field in fields]


def _form_name(path: Sequence[str]) -> str:
    return check_text(form_name(path), place_of(path), maximum=_MAX_NAME_LENGTH)


def _form_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def json_of(value: Value) -> object:
    """Return the JSON value of a Value; whole numbers up to 2**53 become integers."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: json_of(item) for name, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [json_of(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _MAX_EXACT_INTEGER else number
    return None if kind in {None, "null_value"} else getattr(value, kind)


def _child(target: object, step: str) -> object:
    """Return the member or item that a step of a path refers to, None if there is none."""
    if isinstance(target, Mapping):
        return target.get(step)
    if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
        return target[int(step)]
    return None
