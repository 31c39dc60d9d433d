"""The limits of fields, as the contract declares them with the option (berth.v1.limits).

The OpenAPI document has them, too, so they are the same there and here.
"""

from functools import cache
from typing import Any

from berth.v1 import options_pb2

_LIMITS: Any = options_pb2.limits  # its stub does not declare it as an extension


@cache
def limits_of(message: Any, field: str) -> options_pb2.Limits:
    """Return the limits of a `field` of the class `message`."""
    options = message.DESCRIPTOR.fields_by_name[field].GetOptions()
    found: options_pb2.Limits = options.Extensions[_LIMITS]
    return found
