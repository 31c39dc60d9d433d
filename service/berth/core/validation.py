"""Validation rules for single fields of a request.

A failed check raises InvalidRequestError with the parameter and a code, in the wording of OpenAI's
own API.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TypeVar

from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.limits import limits_of
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest

T = TypeVar("T")

MAX_MEDIA_TYPE_LENGTH = limits_of(CreateContainerFileRequest, "content_type").max_length
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)
_MAX_SHOWN = 64
"""The length of the longest id."""


def missing(param: str) -> InvalidRequestError:
    """Return the error for a required parameter that is missing."""
    return InvalidRequestError(f"{param} is required", param=param, code="missing_required_parameter")


def invalid(param: str, reason: str) -> InvalidRequestError:
    """Return the error for a parameter with an invalid value."""
    return InvalidRequestError(f"Invalid '{param}': {reason}.", param=param, code="invalid_value")


def check_integer(value: int, param: str, *, minimum: int, maximum: int) -> int:
    """Check that `minimum` <= `value` <= `maximum`."""
    if minimum <= value <= maximum:
        return value
    low = value < minimum
    what, sign, bound = ("below minimum", ">=", minimum) if low else ("above maximum", "<=", maximum)
    message = f"Invalid '{param}': integer {what} value. Expected a value {sign} {bound}, but got {value} instead."
    code = "integer_below_min_value" if low else "integer_above_max_value"
    raise InvalidRequestError(message, param=param, code=code)


def check_text(value: str, param: str, *, maximum: int) -> str:
    """Check that `value` has 1 to `maximum` characters and no control character."""
    if not value:
        raise missing(param)
    check_length(len(value), param, maximum=maximum, what="string", unit="length")
    if any(unicodedata.category(character) == "Cc" for character in value):
        raise invalid(param, "control characters are not allowed")
    return value


def check_length(length: int, param: str, *, maximum: int, what: str, unit: str) -> None:
    """Check that the `length` of a `what`, measured in `unit`, is at most `maximum`."""
    if length > maximum:
        message = (
            f"Invalid '{param}': {what} too long. Expected a maximum {unit} of {maximum}, but got {length} instead."
        )
        raise InvalidRequestError(message, param=param, code=f"{what}_above_max_length")


def is_media_type(value: str) -> bool:
    """Return whether `value` is a media type that a response can carry, with or without parameters."""
    return len(value) <= MAX_MEDIA_TYPE_LENGTH and _MEDIA_TYPE.fullmatch(value) is not None


def check_choice(value: str, param: str, *, choices: Collection[str]) -> str:
    """Check that `value` is one of `choices`."""
    if value not in choices:
        raise unexpected(value, param, choices=choices)
    return value


def unexpected(value: str, param: str, *, choices: Collection[str]) -> InvalidRequestError:
    """Return the error for a `value` that is not one of `choices`."""
    expected = ", ".join(f"'{choice}'" for choice in choices)
    return invalid(param, f"expected one of {expected}, but got '{shown(value)}'")


def unknown_parameter(name: str, known: Iterable[str] = (), *, always: bool = False) -> InvalidRequestError:
    """Return the error for an unknown parameter; it suggests a name out of `known`, as `did_you_mean` does."""
    hint = did_you_mean(name.rpartition(".")[2], known, always=always)
    return InvalidRequestError(f"Unknown parameter: '{name}'{hint or '.'}", param=name, code="unknown_parameter")


def did_you_mean(name: str, known: Iterable[str], *, always: bool = False) -> str:
    """Return a suggestion for a misspelt `name`: the nearest of the `known` names, or "" if none is similar.

    With `always` the nearest name is suggested even if it is not similar.
    """
    near = get_close_matches(name[:_MAX_SHOWN].lower(), list(known), n=1, cutoff=0.0 if always else 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """Return `value` in a form for messages: valid Unicode, and shortened if it is long."""
    text = str(value)[: _MAX_SHOWN + 1].encode(errors="backslashreplace").decode()
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def container_not_found(container_id: str) -> NotFoundError:
    """Return the error for a container that does not exist or belongs to another tenant."""
    return NotFoundError(f"Container {shown(container_id)} not found.", reason="container_not_found")


def container_file_not_found(container_id: str, file_id: str) -> NotFoundError:
    """Return the error for a container file that does not exist or is in a container of another tenant."""
    message = f"File {shown(file_id)} not found on container {shown(container_id)}."
    return NotFoundError(message, reason="container_file_not_found")


def exec_not_found(container_id: str, exec_id: str) -> NotFoundError:
    """Return the error for an exec that does not exist, no longer, or in a container of another tenant."""
    message = f"Exec {shown(exec_id)} not found on container {shown(container_id)}."
    return NotFoundError(message, reason="container_exec_not_found")


def file_not_found(file_id: str) -> NotFoundError:
    """Return the error for a file of the Files API that does not exist or belongs to another tenant."""
    return NotFoundError(f"File {shown(file_id)} not found.", reason="file_not_found")


def unknown_file(file_id: str, param: str) -> InvalidRequestError:
    """Return the error for the id of a file to copy that is not one of the caller's files."""
    return invalid(param, f"no file with the id '{file_id[:64]}'")


def require_same(name: str, before: T | None, given: T) -> T:
    """Return the `given` value of a field. InvalidRequestError if the field already has a different value."""
    if before not in (None, given):
        raise invalid(name, "it is given twice, with different values")
    return given
