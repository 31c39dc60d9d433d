"""The texts that Berth passes to the Python of a sandbox."""

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_OWN_IMPORT = re.compile(r"^from berth\.[^\n(]*(\([^)]*\))?\n", re.MULTILINE)
_ONCE = "\nreports, size = int(sys.argv.pop()), int(sys.argv.pop())\nrun_once(size, reports)\n"
_SESSION = "\nreports, requests = int(sys.argv.pop()), int(sys.argv.pop())\nSession().serve(requests, reports)\n"


@cache
def once_text() -> str:
    """Return the program that runs one program.

    Its last arguments are the size of that, in bytes of the standard input, and the descriptor for the report.
    """
    return _text("program") + _ONCE


@cache
def session_text() -> str:
    """Return the program that runs those of a session; its last arguments are the two descriptors of its pipes."""
    return _text("program") + _text("session") + _SESSION


def _text(module: str) -> str:
    """Return the text of a module without what it imports of Berth, which is ahead of it."""
    return _OWN_IMPORT.sub("", (_FOLDER / f"{module}.py").read_text(encoding="utf-8"))
