"""Fields of a request that the contract does not know.

A provider that keeps the container itself gets them as they are. Elsewhere they
would be dropped without a word, so they are refused.
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
"""What a form, or a JSON body, may say of a file, in a container and in none."""
_MAX_PLACE_LENGTH = 256


def refuse_additional(fields: Sequence[AdditionalField], request: Any) -> None:
    """Raise InvalidRequestError for the first of the `fields` that came with `request`, if there are any.

    `unknown_parameter`, with the nearest name that is known there, or
    `invalid_value` for an unknown value of a known field.
    """
    if fields:
        raise _refusal(fields[0], request.DESCRIPTOR)


def refuse_unknown(fields: Sequence[AdditionalField], *, known: Iterable[str]) -> None:
    """Raise InvalidRequestError (`unknown_parameter`) for the first of `fields`, if there are any.

    It names the nearest of the `known` names.
    """
    if fields:
        raise unknown_parameter(place_of(fields[0].path), known)


def refuse_known(fields: Sequence[AdditionalField], request: Any) -> None:
    """Raise InvalidRequestError for the first of `fields` that `request` has a field of its own for.

    It would go to the provider past all checks of that field.
    """
    for field in fields:
        if _is_known(field, request.DESCRIPTOR):
            raise _not_additional(place_of(field.path, request.DESCRIPTOR))


def refuse_known_names(fields: Sequence[AdditionalField], *, known: Collection[str]) -> None:
    """Raise InvalidRequestError for the first of `fields` that would be one of the `known` ones in a form.

    `file_id[]` and `file_id[0]` are `file_id` to some.
    """
    for field in fields:
        name = form_name(field.path)
        if name in known or name.partition("[")[0].strip() in {*known, ""}:
            raise _not_additional(place_of(field.path))


def form_name(path: Sequence[str]) -> str:
    """Return what a field is called in a form: `a[b]` is inside another."""
    return "".join(f"[{step}]" if index else step for index, step in enumerate(path))


def place_of(path: Sequence[str], descriptor: Any = None) -> str:
    """Return the place of a field in a JSON body as errors name it, such as `skills[0].color`.

    `descriptor` is that of the message that the body fills, where there is one.
    """
    steps = (f"[{step}]" if is_index else f".{shown(step)}" for step, _, is_index in _walk(path, descriptor))
    return "".join(steps).removeprefix(".")[:_MAX_PLACE_LENGTH]


def _walk(path: Sequence[str], descriptor: Any) -> Iterator[tuple[str, Any, bool]]:
    """Yield each step of `path` with the field that it leads to or into, None for none, and whether it is an index."""
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
    """Tell whether the contract has a field at the place of `field`, or a value around it that has no other fields."""
    around = None
    for _, known, _ in _walk(field.path, descriptor):
        if known is None:
            return around is not None and (around.message_type is None or _is_map(around))
        around = known
    enum = None if around is None else around.enum_type
    is_text = field.value.WhichOneof("kind") == "string_value"
    return enum is None or not is_text or field.value.string_value in short_names(enum)


def _not_additional(place: str) -> InvalidRequestError:
    return invalid(place or ADDITIONAL, "there is a field for it, so it cannot be an additional one")


def _refusal(field: AdditionalField, descriptor: Any) -> InvalidRequestError:
    place, around = place_of(field.path, descriptor), descriptor
    for _, known, is_index in _walk(field.path, descriptor):
        if known is not None and known.enum_type is not None:
            return unexpected(field.value.string_value, place, choices=short_names(known.enum_type))
        if not is_index and known is None:
            break
        around = None if known is None else known.message_type
    names = around.fields_by_name if around else {}
    return unknown_parameter(place, [name for name in names if name != ADDITIONAL])
