"""Read a JSON body: its type, its bytes within their limit, and its value."""

import re
from collections.abc import AsyncIterator

from berth.core.errors import InvalidRequestError, UnsupportedMediaTypeError
from berth.rpc.bodies.json_text import parse_json

JSON = "application/json"
_PARAMETER = re.compile(r"""\s*charset\s*=\s*("?)utf-?8\1\s*""", re.IGNORECASE)


async def read_json(content_type: str, bodies: AsyncIterator[bytes], *, maximum: int) -> object:
    """Return the JSON value that `bodies` hold.

    UnsupportedMediaTypeError for another type than JSON in UTF-8,
    InvalidRequestError for more than `maximum` bytes (`request_too_large`) and for
    what is no JSON (`invalid_json`).
    """
    _check_type(content_type)
    gathered = bytearray()
    async for body in bodies:
        gathered += body
        if len(gathered) > maximum:
            message = f"The body is too large: at most {maximum} bytes of JSON are allowed."
            raise InvalidRequestError(message, code="request_too_large")
    return parse_json(bytes(gathered))


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
