"""Short names of enum values, as used in JSON, the configuration, logs and headers."""

from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def short_names(enum: Any) -> Mapping[str, int]:
    """Return the values of an enum by short name: the name in lower case, without the enum's prefix.

    `enum` is its descriptor. The unspecified value is left out.
    """
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}
