"""Fields of a request that the contract does not know.

A provider that keeps the container itself gets them as they are. Elsewhere they
would be dropped without a word, so they are refused.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from berth.core.checks import shown, unexpected, unknown_parameter
from berth.core.enum_names import short_names
from berth.core.errors import InvalidRequestError
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


def place_of(path: Sequence[str]) -> str:
    """Return the place of a field in a JSON body as errors name it, such as `skills[0].color`."""
    text = ""
    for step in path:
        text += f"[{step}]" if step.isdecimal() and text else f".{shown(step)}" if text else shown(step)
    return text[:_MAX_PLACE_LENGTH]


def _refusal(field: AdditionalField, descriptor: Any) -> InvalidRequestError:
    *outer, name = field.path or [""]
    for step in outer:
        if descriptor and not step.isdecimal():
            known = descriptor.fields_by_name.get(step)
            descriptor = known.message_type if known else None
    fields = descriptor.fields_by_name if descriptor else {}
    place = place_of(field.path)
    if name in fields and fields[name].enum_type:
        return unexpected(field.value.string_value, place, choices=short_names(fields[name].enum_type))
    return unknown_parameter(place, [known for known in fields if known != ADDITIONAL])
