"""The rules that single fields of a request obey.

Each check returns what it was given or raises InvalidRequestError, in the
words that OpenAI's own API uses, with the parameter and a code.
"""

import unicodedata
from collections.abc import Collection

from berth.core.errors import InvalidRequestError


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


def check_choice(value: str, param: str, *, choices: Collection[str]) -> str:
    """Check that `value` is one of `choices`."""
    if value not in choices:
        expected = ", ".join(f"'{choice}'" for choice in choices)
        raise invalid(param, f"expected one of {expected}, but got '{shown(value)}'")
    return value


def shown(value: object) -> str:
    """Return `value` as it may stand in a message: shortened where it is long."""
    text = str(value)
    return text if len(text) <= 64 else f"{text[:61]}..."  # noqa: PLR2004 - the longest id there is
