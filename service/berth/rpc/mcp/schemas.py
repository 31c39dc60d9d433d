"""The JSON schemas of tools, and the check that arguments match them.

Only what tools need is there: objects of texts, integers, and texts by name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from berth.core.errors import InvalidRequestError
from berth.core.validation import check_choice, check_integer, invalid, missing, unknown_parameter
from berth.rpc.bodies.json_text import RepeatedNames

Json = dict[str, Any]
MAX_INTEGER = 2**31 - 1
_KINDS = ((bool, "a boolean"), (int, "an integer"), (float, "a number"), (str, "a string"), (list, "an array"))
_EXPECTED = {"string": "a string", "integer": "an integer", "object": "an object"}


def inputs(properties: Mapping[str, Json], required: Sequence[str] = ()) -> Json:
    """Return the schema of an object that has these properties and no others."""
    return {**shape(properties, required), "additionalProperties": False}


def shape(properties: Mapping[str, Json], required: Sequence[str] = ()) -> Json:
    """Return the schema of an object in a result, which may have more properties in later versions."""
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def text(description: str, **more: Any) -> Json:
    """Return the schema of a string."""
    return {"type": "string", "description": description, **more}


def integer(description: str, **more: Any) -> Json:
    """Return the schema of an integer, which is not negative unless `more` has another minimum."""
    return {"type": "integer", "description": description, "minimum": 0, **more}


def texts_by_name(description: str) -> Json:
    """Return the schema of an object with strings as values."""
    return {"type": "object", "description": description, "additionalProperties": {"type": "string"}}


def list_of(item: Json, description: str) -> Json:
    """Return the schema of an array."""
    return {"type": "array", "description": description, "items": item}


def check_arguments(given: Mapping[str, object], wanted: Json) -> Json:
    """Return the arguments in `given`, without those that are null.

    InvalidRequestError, naming the argument, for one that is unknown, missing, of a wrong type or out of range.
    """
    _refuse_repeated(given)
    known: Mapping[str, Json] = wanted["properties"]
    absent = [name for name in wanted["required"] if name not in given]
    for name in given:
        if name not in known:
            raise unknown_parameter(_printable(name), absent or known, always=bool(absent))
    checked = {name: _checked(value, name, known[name]) for name, value in given.items() if value is not None}
    for name in wanted["required"]:
        if name not in checked:
            raise missing(name)
    return checked


def _checked(value: object, name: str, wanted: Json) -> object:
    kind = wanted["type"]
    if kind == "integer":
        return _integer(value, name, wanted)
    if kind == "object":
        return _texts(value, name)
    checked = _text(value, name)
    return check_choice(checked, name, choices=wanted["enum"]) if "enum" in wanted else checked


def _integer(value: object, name: str, wanted: Json) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(value, name, "integer")
    return check_integer(value, name, minimum=wanted["minimum"], maximum=wanted.get("maximum", MAX_INTEGER))


def _texts(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong_type(value, name, "object")
    _refuse_repeated(value, f"{name}.")
    return {_text(key, name): _text(item, f"{name}.{_printable(key)}") for key, item in value.items()}


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, name, "string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise invalid(name, "it has an unpaired surrogate") from None
    return value


def _refuse_repeated(value: Mapping[str, object], place: str = "") -> None:
    if isinstance(value, RepeatedNames):
        name = f"{place}{_printable(value.name)}"
        raise InvalidRequestError(f"Duplicate parameter: '{name}'.", param=name, code="duplicate_parameter")


def _wrong_type(value: object, name: str, kind: str) -> InvalidRequestError:
    got = next((text for known, text in _KINDS if isinstance(value, known)), "null" if value is None else "an object")
    message = f"Invalid type for '{name}': expected {_EXPECTED[kind]}, but got {got} instead."
    return InvalidRequestError(message, param=name, code="invalid_type")


def _printable(name: str) -> str:
    return name[:64].encode(errors="backslashreplace").decode()
