"""Fill a message of the contract from a JSON object, by the message's descriptor.

JSON has the names of the contract's fields, and short names in lower case for enum values. A null
means that a field is absent. Fields and enum values that the contract does not have are added to
the message's `additional_fields`; which backend accepts them is decided later.
"""

from collections.abc import Mapping
from functools import cache
from math import isinf
from typing import Any, NoReturn

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE, Value

from berth.core.enum_names import short_names
from berth.core.errors import InvalidRequestError
from berth.core.providers import unknown_provider
from berth.core.validation import check_integer, invalid, shown
from berth.rpc.bodies.json_text import MAX_INTEGER, RepeatedNames
from berth.v1.provider_pb2 import Provider

ADDITIONAL = "additional_fields"
MAX_DEPTH = 64
_MAX_PLACE_LENGTH = 256
_MAX_INT32 = 2**31 - 1
_KINDS = ((bool, "a boolean"), (int, "an integer"), (float, "a number"), (str, "a string"), (list, "an array"))
MAX_ADDITIONAL_FIELDS = 1000
"""More than any provider has. Each costs ten times as much as a known field."""

Path = tuple[str | int, ...]


def fill(message: Message, value: object, *, names: frozenset[str] | None = None) -> None:
    """Set the fields of `message` from the JSON object `value`. Only `names` are known, or all fields.

    InvalidRequestError, naming the place, for a value of a wrong type or out of range, a null
    inside a list or map, and a name that an object has twice.
    """
    if not isinstance(value, dict):
        raise InvalidRequestError(f"The body must be a JSON object, but it is {_kind(value)}.", code="invalid_type")
    filler = _MessageFiller(message, names)
    filler.fill(message, value, ())
    filler.finish()


class _MessageFiller:
    """Fills one message, and collects what the contract does not know."""

    def __init__(self, message: Message, names: frozenset[str] | None) -> None:
        self._message: Any = message
        self._names = names
        self._additional: list[tuple[Path, object]] = []

    def fill(self, message: Message, value: Mapping[str, object], path: Path) -> None:
        _check_names(value, path)
        fields = _fields(message.DESCRIPTOR)
        for name, item in value.items():
            place = (*path, name)
            field = fields.get(name)
            if field is None or (not path and self._names is not None and name not in self._names):
                self._add_unknown(place, item)
            elif item is not None:
                self._set(message, field, item, place)

    def finish(self) -> None:
        """Add what the contract does not know, in an order that does not depend on how the JSON was written."""
        for path, item in sorted(self._additional, key=lambda one: list(map(str, one[0]))):
            added = self._message.additional_fields.add(path=[str(_checked_text(step, path)) for step in path])
            _copy(item, added.value, path)

    def _add_unknown(self, path: Path, item: object) -> None:
        if len(self._additional) == MAX_ADDITIONAL_FIELDS:
            message = f"The body has more than {MAX_ADDITIONAL_FIELDS} unknown fields."
            raise InvalidRequestError(message, param=place_of(path), code="unknown_parameter")
        self._additional.append((path, item))

    def _set(self, message: Message, field: FieldDescriptor, item: object, path: Path) -> None:
        if _is_map(field):
            self._set_map(message, field, item, path)
        elif field.is_repeated:
            self._set_list(message, field, item, path)
        elif field.message_type is not None:
            child = getattr(message, field.name)
            child.SetInParent()
            self.fill(child, _object(item, path), path)
        elif (scalar := self._scalar(field, item, path)) is not None:
            setattr(message, field.name, scalar)

    def _set_map(self, message: Message, field: FieldDescriptor, item: object, path: Path) -> None:
        target = getattr(message, field.name)
        value_field = _fields(target.GetEntryClass().DESCRIPTOR)["value"]
        pairs = _object(item, path)
        _check_names(pairs, path)
        for name, value in pairs.items():
            place = (*path, name)
            target[_checked_text(name, path)] = self._scalar(value_field, _require_value(value, place), place)

    def _set_list(self, message: Message, field: FieldDescriptor, item: object, path: Path) -> None:
        if not isinstance(item, list):
            _refuse_type(item, "an array", path)
        target = getattr(message, field.name)
        for index, value in enumerate(item):
            place = (*path, index)
            _require_value(value, place)
            if field.message_type is not None:
                self.fill(target.add(), _object(value, place), place)
            else:
                target.append(self._scalar(field, value, place))

    def _scalar(self, field: FieldDescriptor, item: object, path: Path) -> object:
        """Return the value of a field that is not a message; None for an enum value that the contract lacks."""
        if field.enum_type is not None:
            name = _string(item, path)
            number = short_names(field.enum_type).get(name)
            if number is None and field.enum_type is Provider.DESCRIPTOR:
                raise unknown_provider(name)
            if number is None:
                self._add_unknown(path, name)
            return number
        return _READERS[field.cpp_type](item, path)


def place_of(path: Path) -> str:
    """Return a place in a JSON value as errors name it, such as `skills[0].name`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{shown(step)}" if text else shown(step)
    # A name may have an unpaired surrogate, which no response can carry.
    return text[:_MAX_PLACE_LENGTH].encode("utf-8", "backslashreplace").decode()


@cache
def _fields(descriptor: Descriptor) -> Mapping[str, FieldDescriptor]:
    """Return the fields that JSON may set, by name."""
    return {field.name: field for field in descriptor.fields if field.name != ADDITIONAL}


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _object(item: object, path: Path) -> Mapping[str, object]:
    if not isinstance(item, dict):
        _refuse_type(item, "an object", path)
    return item


def _require_value(item: object, path: Path) -> object:
    if item is None:
        raise _invalid_at(path, "null is not allowed here", code="invalid_type")
    return item


def _string(item: object, path: Path) -> str:
    if not isinstance(item, str):
        _refuse_type(item, "a string", path)
    return _checked_text(item, path)


def _integer(item: object, path: Path) -> int:
    if isinstance(item, bool) or not isinstance(item, int | float):
        _refuse_type(item, "an integer", path)
    if isinf(item):
        raise _too_large(path)
    if item != int(item):
        _refuse_type(item, "an integer", path)
    return int(item)


def _int32(item: object, path: Path) -> int:
    return check_integer(_integer(item, path), place_of(path), minimum=-_MAX_INT32 - 1, maximum=_MAX_INT32)


def _number(item: object, path: Path) -> float:
    if isinstance(item, bool) or not isinstance(item, int | float):
        _refuse_type(item, "a number", path)
    if isinf(item):
        raise _too_large(path)
    return item


def _boolean(item: object, path: Path) -> bool:
    if not isinstance(item, bool):
        _refuse_type(item, "a boolean", path)
    return item


_READERS = {
    FieldDescriptor.CPPTYPE_STRING: _string,
    FieldDescriptor.CPPTYPE_INT32: _int32,
    FieldDescriptor.CPPTYPE_INT64: _integer,
    FieldDescriptor.CPPTYPE_BOOL: _boolean,
    FieldDescriptor.CPPTYPE_DOUBLE: _number,
}


def _copy(item: object, value: Value, path: Path) -> None:
    """Copy a JSON value that the contract does not know, up to MAX_DEPTH levels deep."""
    if len(path) > MAX_DEPTH:
        raise _invalid_at(path, f"it is nested deeper than {MAX_DEPTH} levels", code="invalid_json")
    if isinstance(item, dict):
        _check_names(item, path)
        value.struct_value.SetInParent()
        for name, one in item.items():
            _copy(one, value.struct_value.fields[_checked_text(name, path)], (*path, name))
    elif isinstance(item, list):
        value.list_value.SetInParent()
        for index, one in enumerate(item):
            _copy(one, value.list_value.values.add(), (*path, index))
    elif item is None:
        value.null_value = NULL_VALUE
    elif isinstance(item, bool):
        value.bool_value = item
    elif isinstance(item, str):
        value.string_value = _checked_text(item, path)
    else:
        value.number_value = _number(item, path)


def _check_names(value: Mapping[str, object], path: Path) -> None:
    if isinstance(value, RepeatedNames):
        place = place_of((*path, value.name))
        message = f"Duplicate parameter: '{place}'."
        raise InvalidRequestError(message, param=place, code="duplicate_parameter")


def _checked_text(text: str | int, path: Path) -> str:
    """Return `text`. InvalidRequestError for an unpaired surrogate, which UTF-8 cannot encode."""
    if isinstance(text, int):
        return str(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid_at(path, "it has an unpaired surrogate") from None
    return text


def _refuse_type(item: object, expected: str, path: Path) -> NoReturn:
    place = place_of(path)
    message = f"Invalid type for '{place}': expected {expected}, but got {_kind(item)} instead."
    raise InvalidRequestError(message, param=place, code="invalid_type")


def _invalid_at(path: Path, reason: str, *, code: str | None = None) -> InvalidRequestError:
    error = invalid(place_of(path), reason)
    error.code = code or error.code
    return error


def _too_large(path: Path) -> InvalidRequestError:
    return _invalid_at(path, f"expected an integer of at most {MAX_INTEGER}, or a fraction that a double can hold")


def _kind(item: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(item, kind)), "null" if item is None else "an object")
