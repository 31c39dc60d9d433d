"""Parse a JSON text in linear time.

The parser accepts what RFC 8259 defines. It sees a value before it knows the place of the value. So
errors that must name a place are only marked in the result, for the code that walks through it: a
name that an object has twice, and a number that is too large.
"""

import json
from codecs import BOM_UTF8
from collections import Counter
from math import inf
from typing import NoReturn

from berth.core.errors import InvalidRequestError

MAX_INTEGER = 2**53
"""The largest integer that every JSON parser keeps exact (RFC 8259, section 6)."""
_MAX_DIGITS = len(str(MAX_INTEGER)) + 1
"""Room for the digits and a sign."""


class RepeatedNames(dict[str, object]):
    """An object that has `name` more than once."""

    name: str


def parse_json(text: bytes) -> object:
    """Return the value of a JSON text. InvalidRequestError (`invalid_json`) if it is malformed.

    Integers above 2^53 become infinite, as do fractions that are too large.
    """
    if text.startswith(BOM_UTF8):
        raise _not_json("it begins with a byte order mark")
    try:
        return _DECODER.decode(text.decode())
    except UnicodeDecodeError:
        raise _not_json("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        reason = "it is empty" if not text.strip() else f"{error.msg}: line {error.lineno} column {error.colno}"
        raise _not_json(reason) from None
    except RecursionError:
        raise _not_json("it is nested too deep") from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    repeated = RepeatedNames(value)
    repeated.name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return repeated


def _integer(digits: str) -> float:
    number = int(digits) if len(digits) <= _MAX_DIGITS else inf
    return number if abs(number) <= MAX_INTEGER else inf


def _constant(name: str) -> NoReturn:
    raise _not_json(f"{name} is not a JSON value")


def _not_json(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The body is not valid JSON: {reason}.", code="invalid_json")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
