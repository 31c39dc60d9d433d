"""The rules that single fields of a request obey.

Each check returns what it was given or raises InvalidRequestError, in the
words that OpenAI's own API uses, with the parameter and a code.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from berth.core.errors import InvalidRequestError, NotFoundError

MAX_MEDIA_TYPE_LENGTH = 255
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)
_MAX_SHOWN = 64
"""The length of the longest id there is."""


def missing(param: str) -> InvalidRequestError:
    """Return the error for a required parameter that was not given."""
    return InvalidRequestError(f"{param} is required", param=param, code="missing_required_parameter")


def invalid(param: str, reason: str) -> InvalidRequestError:
    """Return the error for a parameter whose value cannot be."""
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
    """Check a `length`, of a `what` in `unit`, against its maximum."""
    if length > maximum:
        message = (
            f"Invalid '{param}': {what} too long. Expected a maximum {unit} of {maximum}, but got {length} instead."
        )
        raise InvalidRequestError(message, param=param, code=f"{what}_above_max_length")


def is_media_type(value: str) -> bool:
    """Tell whether `value` is a media type that an answer can carry, with or without parameters."""
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


def unknown_parameter(name: str, known: Iterable[str] = ()) -> InvalidRequestError:
    """Return the error for a parameter that is not among those `known`; it names the nearest one."""
    hint = did_you_mean(name.rpartition(".")[2], known)
    return InvalidRequestError(f"Unknown parameter: '{name}'{hint or '.'}", param=name, code="unknown_parameter")


def did_you_mean(name: str, known: Iterable[str], *, always: bool = False) -> str:
    """Return the hint for a misspelt `name`: the nearest of those `known`, if it is near or one is `always` named."""
    near = get_close_matches(name[:_MAX_SHOWN].lower(), list(known), n=1, cutoff=0.0 if always else 0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """Return `value` as it may stand in a message: valid Unicode, and shortened where it is long."""
    text = str(value)[: _MAX_SHOWN + 1].encode(errors="backslashreplace").decode()
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


def container_not_found(container_id: str) -> NotFoundError:
    """Return the error of a container that is absent, or another tenant's."""
    return NotFoundError(f"Container {shown(container_id)} not found.", reason="container_not_found")


def container_file_not_found(container_id: str, file_id: str) -> NotFoundError:
    """Return the error of a container file that is absent, or in a container of another tenant."""
    message = f"File {shown(file_id)} not found on container {shown(container_id)}."
    return NotFoundError(message, reason="container_file_not_found")


def file_not_found(file_id: str) -> NotFoundError:
    """Return the error of a file, in no container, that is absent, or another tenant's."""
    return NotFoundError(f"File {shown(file_id)} not found.", reason="file_not_found")


def unknown_file(file_id: str, param: str) -> InvalidRequestError:
    """Return the error for an id of a file to copy that the caller has no file of."""
    return invalid(param, f"no file with the id '{file_id[:64]}'")
