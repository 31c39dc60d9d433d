"""Makes untrusted text, such as names and server messages, safe to print on a terminal."""

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control, format (which can reverse text), surrogate, line separator, paragraph separator."""


def is_plain(character: str) -> bool:
    """Return whether a character is visible or a space, and is not interpreted by terminals."""
    return unicodedata.category(character) not in _INVISIBLE


def shown(text: str) -> str:
    r"""Return `text` on one line, safe for a terminal: invisible characters are escaped, such as `\x1b`."""
    return "".join(letter if is_plain(letter) else letter.encode("unicode_escape").decode() for letter in text)
