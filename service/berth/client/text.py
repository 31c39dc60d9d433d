"""Texts that come from somebody else: names, and what servers say."""

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, formats (which turn text around), halves of pairs, and separators of lines and paragraphs."""


def is_plain(character: str) -> bool:
    """Return whether a character is one that people see, or a space, and nothing that a terminal obeys."""
    return unicodedata.category(character) not in _UNSEEN


def shown(text: str) -> str:
    r"""Return `text` on one line, as it can be shown in a terminal: `\x1b` stands for an escape."""
    return "".join(letter if is_plain(letter) else letter.encode("unicode_escape").decode() for letter in text)
