"""Fields that the contract does not know, put back where they were in a JSON body."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from google.protobuf.struct_pb2 import Value

from berth.core.additional_fields import form_name, place_of
from berth.core.validation import check_text
from berth.v1.additional_field_pb2 import AdditionalField

_EXACT = 2**53
_MAX_NAME_LENGTH = 1024


def with_additional(body: dict[str, Any], fields: Iterable[AdditionalField]) -> dict[str, Any]:
    """Add `fields` to the objects and lists of `body`, and return it. A path that leads nowhere is passed over."""
    for field in fields:
        target: Any = body
        for step in field.path[:-1]:
            target = _at(target, step)
        if isinstance(target, dict) and field.path:
            target[field.path[-1]] = json_of(field.value)
    return body


def form_fields(fields: Iterable[AdditionalField]) -> list[tuple[str, str]]:
    """Return `fields` as those of a form, in their order; what is no text is written as JSON.

    InvalidRequestError for a name that has control characters or is too long.
    """
    return [(_form_name(field.path), _form_text(json_of(field.value))) for field in fields]


def _form_name(path: Sequence[str]) -> str:
    return check_text(form_name(path), place_of(path), maximum=_MAX_NAME_LENGTH)


def _form_text(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def json_of(value: Value) -> object:
    """Return the JSON value that a Value holds; whole numbers are integers, as they were written."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: json_of(one) for name, one in value.struct_value.fields.items()}
    if kind == "list_value":
        return [json_of(one) for one in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    return None if kind in {None, "null_value"} else getattr(value, kind)


def _at(target: object, step: str) -> object:
    if isinstance(target, Mapping):
        return target.get(step)
    if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
        return target[int(step)]
    return None
