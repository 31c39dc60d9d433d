"""The short names of enum values: what JSON, the configuration, logs and headers carry."""

from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def short_names(enum: Any) -> Mapping[str, int]:
    """Return the values of an enum, given by its descriptor, by their short names: in lower case, without the prefix.

    The value that stands for none is not among them.
    """
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in enum.values if value.number}
