"""Read a JSON body: its type, its bytes within their limit, and its value."""

import re
from collections.abc import AsyncIterator

from berth.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from berth.rpc.bodies.json_outline import Outline
from berth.rpc.bodies.json_text import parse_json

JSON = "application/json"
MAX_VALUES = 10_000
"""How many values a body may have: reading one takes microseconds, in which no other call gets on."""
_CERTAINLY_FEW = 2 * MAX_VALUES
"""A body of so many bytes has no more values: each takes a byte, and a separator."""
_PARAMETER = re.compile(r"""\s*charset\s*=\s*("?)utf-?8\1\s*""", re.IGNORECASE)


async def read_json(content_type: str, bodies: AsyncIterator[bytes], *, maximum: int, room_for_text: int = 0) -> object:
    """Return the JSON value that `bodies` hold.

    A body may have `maximum` bytes, and `room_for_text` more inside its strings.

    UnsupportedMediaTypeError for another type than JSON in UTF-8,
    InvalidRequestError for a body that is too large or has too many values
    (`request_too_large`) and for what is no JSON (`invalid_json`).
    """
    _check_type(content_type)
    gathered, outline = bytearray(), Outline()
    async for body in bodies:
        gathered += body
        if len(gathered) > maximum + room_for_text:
            raise _too_large(f"at most {maximum + room_for_text} bytes of JSON are allowed")
        if len(gathered) > _CERTAINLY_FEW:
            outline.add(bytes(gathered[outline.length :]))
        if outline.size > maximum:
            raise _too_large(f"at most {maximum} bytes of JSON are allowed beside its strings")
        if outline.values > MAX_VALUES:
            raise _too_large(f"at most {MAX_VALUES} values are allowed")
    return parse_json(bytes(gathered))


def _too_large(reason: str) -> InvalidRequestError:
    return InvalidRequestError(f"The body is too large: {reason}.", code="request_too_large")


def is_json(content_type: str) -> bool:
    """Tell whether a content type is that of JSON, whatever its parameters."""
    return content_type.partition(";")[0].strip().lower() == JSON


def _check_type(content_type: str) -> None:
    if not is_json(content_type):
        given = f"'{content_type[:64]}'" if content_type else "none"
        raise UnsupportedMediaTypeError(f"The body must be JSON: send 'Content-Type: {JSON}', not {given}.")
    parameters = [one for one in content_type.split(";")[1:] if "charset" in one.lower()]
    if not all(_PARAMETER.fullmatch(one) for one in parameters):
        raise UnsupportedMediaTypeError("The body must be JSON in UTF-8: no other charset is read.")
