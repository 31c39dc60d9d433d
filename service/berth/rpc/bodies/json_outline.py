"""What a JSON text will cost to read, found out while it arrives: its size without its strings, and its values."""

import re

_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|("(?:[^"\\]++|\\.)*+\\?\Z)', re.DOTALL)
"""A whole string, or one that is not over yet."""
_QUOTE, _BACKSLASH = b'"', b"\\"
_STRINGS_PER_VALUE = 2
"""The name of a member, and its value."""


class Outline:
    """Measures a JSON text as it arrives: `length` in bytes, `size` without its strings, about how many `values`.

    In a text that is no JSON it finds no fewer than a reader comes upon before it notices.
    """

    def __init__(self) -> None:
        self.length = 0
        self.size = 0
        self._ends = 0
        self._strings = 0
        self._open = b""

    @property
    def values(self) -> int:
        """How many values there are at most."""
        return 1 + max(self._ends, self._strings // _STRINGS_PER_VALUE)

    def add(self, part: bytes) -> None:
        """Measure the next part of the text."""
        self.length += len(part)
        if self._open == _QUOTE and _QUOTE not in part and _BACKSLASH not in part:
            return
        outline, strings = _STRINGS.subn(rb"\1", self._open + part)
        outside, quote, rest = outline.partition(_QUOTE)
        self._open = quote + _BACKSLASH * ((len(rest) - len(rest.rstrip(_BACKSLASH))) % 2)
        self._strings += strings
        self._ends += outside.count(b",") + outside.count(b"]") + outside.count(b"}")
        self.size += len(outside)
