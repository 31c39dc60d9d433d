"""What Python code reports of itself when it has ended. It may report anything, so only what fits is taken."""

import json
from typing import NamedTuple

from berth.core.exec.sandbox import MAX_REPORT

MAX_DISPLAYS = 100
_FAILED = 1
_MAX_EXIT_CODE = 255


class ProgramReport(NamedTuple):
    """The exit code of a program, and the names of the files that it displayed, below the folder of the container."""

    exit_code: int
    displayed: tuple[str, ...]


def read_report(text: str) -> ProgramReport:
    """Return what a program reports; that it failed if it reports nothing, or nonsense."""
    try:
        found = json.loads(text[:MAX_REPORT])
    except (ValueError, RecursionError):
        found = None
    content = found if isinstance(found, dict) else {}
    code, names = content.get("exit_code"), content.get("displays")
    code = code if isinstance(code, int) and 0 <= code <= _MAX_EXIT_CODE else _FAILED
    displayed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return ProgramReport(int(code), tuple(dict.fromkeys(displayed))[:MAX_DISPLAYS])


def request_line(source: str, *, stdin: bytes, cwd: str, env: dict[str, str]) -> str:
    """Return the line with which the interpreter of a session gets a program."""
    return json.dumps({"source": source, "stdin": stdin.decode(), "cwd": cwd, "env": env})
