"""`berth runtime`: prepares the Python and the packages that commands in sandboxes find."""

import compileall
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from berth.adapters.sandbox.runtime import python_program
from berth.client.errors import LocalFileError
from berth.commands.terminal.printing import print_message

runtime = typer.Typer(help="Prepare the Python that commands in sandboxes find.", no_args_is_help=True)

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@runtime.command()
def create(
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="The folder to make; it must not exist.")],
    packages: Annotated[list[str] | None, typer.Argument(metavar="PACKAGE…", help="What pip installs.")] = None,
) -> None:
    """Make a folder with Berth's own Python and some packages, byte-compiled and read-only."""
    if folder.exists():
        raise LocalFileError(f"{folder}: it exists already")
    place = folder.absolute()
    try:
        _install(place, packages or [])
        compileall.compile_dir(place / "lib", quiet=2, workers=1)
        _make_read_only(place)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    print_message(f"{folder}: ready; commands find it with exec.runtime: {place}")


def _install(folder: Path, packages: list[str]) -> None:
    _run(str(python_program()), "-m", "venv", str(folder))
    if packages:
        pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
        _run(*pip, "install", "--quiet", "--", *packages)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True)  # noqa: S603 - the program is Berth's own Python
    except subprocess.CalledProcessError as error:
        raise LocalFileError(f"the runtime cannot be made: {command[2]} failed, for the reason above") from error
    except OSError as error:
        raise LocalFileError(f"the runtime cannot be made: {error}") from error


def _make_read_only(folder: Path) -> None:
    """Have everybody able to read it, for the users of sandboxes, and none able to change it."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod((mode | (0o555 if path.is_dir() or mode & stat.S_IXUSR else 0o444)) & ~_WRITABLE)
