"""Says which Python commands in a sandbox find: the one that runs Berth, or that of a prepared folder."""

import re
import sys
import sysconfig
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from berth.core.errors import StorageError

LINKS_AT = "/opt/berth/bin"
_SYSTEM = "/usr/bin:/bin"
_HOME = re.compile(r"^home\s*=\s*(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Runtime:
    """What is shown of the host for a Python: `paths` read-only, without `hidden`; `links` are made.

    `sources` are the folders that hold all of it; `path` is the PATH of commands.
    """

    sources: tuple[str, ...]
    paths: tuple[str, ...]
    hidden: tuple[str, ...]
    links: dict[str, str] = field(default_factory=dict)
    path: str = f"{LINKS_AT}:{_SYSTEM}"


def find_runtime(folder: Path | None) -> Runtime:
    """Return the Python of `folder`, which `berth runtime create` made, or that of Berth. StorageError if unusable."""
    return _own() if folder is None else _prepared(folder.resolve(), _own(), python_program())


@cache
def _own() -> Runtime:
    """Return the Python that runs Berth, which stays where it is while Berth runs."""
    return _installation(Path(sys.base_prefix).resolve(), python_program())


def python_program() -> Path:
    """Return the interpreter that runs Berth, outside of any virtual environment."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    program = Path(sys.base_prefix).resolve() / "bin" / version
    return program if program.exists() else Path(sys.executable).resolve()


def _installation(prefix: Path, program: Path) -> Runtime:
    links = {f"{LINKS_AT}/{name}": str(program) for name in ("python", "python3", program.name)}
    library = Path(sysconfig.get_path("stdlib")).resolve()
    hidden = tuple(str(path) for name in ("site-packages", "dist-packages") if (path := library / name).is_dir())
    if prefix == Path("/usr"):
        return Runtime((), (), (), links)
    shared = (
        (prefix / "lib").glob("*.so*") if (prefix / "conda-meta").is_dir() else (prefix / "lib").glob("libpython*.so*")
    )
    paths = (str(program), str(library), *(str(path) for path in sorted(shared)))
    return Runtime((str(prefix),), paths, hidden, links)


def _prepared(folder: Path, own: Runtime, program: Path) -> Runtime:
    try:
        home = _HOME.search((folder / "pyvenv.cfg").read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"pyvenv.cfg: {error.strerror}" if folder.exists() else "it does not exist"
        raise StorageError(f"{folder} is no runtime: {reason}; make one with `berth runtime create`") from error
    if home is None or Path(home[1]).resolve() != program.parent:
        raise StorageError(f"{folder} was made with another Python; make it again with `berth runtime create`")
    paths = (*own.paths, str(folder))
    return Runtime((*own.sources, str(folder)), paths, own.hidden, own.links, f"{folder}/bin:{LINKS_AT}:{_SYSTEM}")
