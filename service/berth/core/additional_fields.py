"""Validation of request fields that the contract does not define.

A passthrough backend can forward them to the provider unchanged. Where they cannot be forwarded
they are rejected, because they would otherwise be dropped silently.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from berth.core.enum_names import short_names
from berth.core.errors import InvalidRequestError
from berth.core.validation import invalid, shown, unexpected, unknown_parameter
from berth.v1.additional_field_pb2 import AdditionalField

ADDITIONAL = "additional_fields"
CONTAINER_FILE_FIELDS = ("file", "file_path", "file_id", "provider")
FILE_FIELDS = ("file", "purpose", "provider", "expires_after[anchor]", "expires_after[seconds]")
"""The form or JSON fields of a file of the Files API; CONTAINER_FILE_FIELDS are those of a container file."""
_MAX_PLACE_LENGTH = 256


def refuse_additional(fields: Sequence[AdditionalField], request: Any) -> None:
    """Raise InvalidRequestError for the first of `fields`, the additional fields of `request`, if there are any.

    The code is `unknown_parameter`, with a similar known name as a suggestion, or `invalid_value`
    for an unknown value of a known field.
    """
    if fields:
        raise _unknown_field_error(fields[0], request.DESCRIPTOR)


def refuse_unknown(fields: Sequence[AdditionalField], *, known: Iterable[str]) -> None:
    """Raise InvalidRequestError (`unknown_parameter`) for the first of `fields`, if there are any.

    The message suggests a similar name out of `known`, if there is one.
    """
    if fields:
        raise unknown_parameter(place_of(fields[0].path), known)


def refuse_known(fields: Sequence[AdditionalField], request: Any) -> None:
    """Raise InvalidRequestError for the first of `fields` that is a defined field of `request`.

    Such a field would reach the provider without the validation of the defined field.
    """
    for field in fields:
        if _is_known(field, request.DESCRIPTOR):
            raise _not_additional(place_of(field.path, request.DESCRIPTOR))


def refuse_known_names(fields: Sequence[AdditionalField], *, known: Collection[str]) -> None:
    """Raise InvalidRequestError for the first of `fields` that has one of the `known` names in a form.

    Some form parsers read `file_id[]` and `file_id[0]` as `file_id`, so these are rejected too.
    """
    for field in fields:
        name = form_name(field.path)
        if name in known or name.partition("[")[0].strip() in {*known, ""}:
            raise _not_additional(place_of(field.path))


def form_name(path: Sequence[str]) -> str:
    """Return the name of a field in a form: `a[b]` is the field `b` inside `a`."""
    return "".join(f"[{step}]" if index else step for index, step in enumerate(path))


def place_of(path: Sequence[str], descriptor: Any = None) -> str:
    """Return the position of a field in a JSON body as error messages show it, such as `skills[0].color`.

    `descriptor` describes the message that the body is parsed into, if there is one.
    """
    steps = (f"[{step}]" if is_index else f".{shown(step)}" for step, _, is_index in _walk(path, descriptor))
    return "".join(steps).removeprefix(".")[:_MAX_PLACE_LENGTH]


def _walk(path: Sequence[str], descriptor: Any) -> Iterator[tuple[str, Any, bool]]:
    """Yield each step of `path`, the message field that it belongs to or None, and whether it is a list index."""
    field, in_list = None, False
    for step in path:
        is_index = in_list and step.isdecimal()
        if not is_index:
            field = descriptor.fields_by_name.get(step) if descriptor else None
            descriptor = None if field is None or _is_map(field) else field.message_type
        in_list = field is None or (not is_index and field.is_repeated and not _is_map(field))
        yield step, field, is_index


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _is_known(field: AdditionalField, descriptor: Any) -> bool:
    """Return whether the contract defines a field at the path of `field`, or a scalar or map that contains it.

    A text that is not a value of the field's enum counts as unknown.
    """
    parent = None
    for _, known, _ in _walk(field.path, descriptor):
        if known is None:
            return parent is not None and (parent.message_type is None or _is_map(parent))
        parent = known
    enum = None if parent is None else parent.enum_type
    is_text = field.value.WhichOneof("kind") == "string_value"
    return enum is None or not is_text or field.value.string_value in short_names(enum)


def _not_additional(place: str) -> InvalidRequestError:
    return invalid(place or ADDITIONAL, "this is a known field and cannot be sent as an additional field")


def _unknown_field_error(field: AdditionalField, descriptor: Any) -> InvalidRequestError:
    place, parent = place_of(field.path, descriptor), descriptor
    for _, known, is_index in _walk(field.path, descriptor):
        if known is not None and known.enum_type is not None:
            return unexpected(field.value.string_value, place, choices=short_names(known.enum_type))
        if not is_index and known is None:
            break
        parent = None if known is None else known.message_type
    names = parent.fields_by_name if parent else {}
    return unknown_parameter(place, [name for name in names if name != ADDITIONAL])
