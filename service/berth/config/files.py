"""Reads the files of the configuration and of secrets, and the secrets in variables, within bounds."""

import os
from collections.abc import Mapping
from pathlib import Path
from stat import S_ISREG

MAX_CONFIGURATION_BYTES = 4_194_304
MAX_SECRET_BYTES = 65_536


class UnreadableError(Exception):
    """A file or a variable cannot be used. The message says why, and contains nothing of its content."""


class SecretSources:
    """What `env:NAME` and `file:PATH` refer to. With `only_regular` only regular files are read.

    Each file is read once, so that a pipe gives the same secret to every setting that refers to it.
    """

    def __init__(self, environ: Mapping[str, str], *, only_regular: bool) -> None:
        self.environ = environ
        self._only_regular = only_regular
        self._texts: dict[str, str] = {}

    def variable(self, name: str) -> str:
        """Return a variable without one trailing newline; UnreadableError if it is not set or not text."""
        if name not in self.environ:
            raise UnreadableError(f"the environment variable {name} is not set")
        value = self.environ[name]
        if not _is_text(value):
            raise UnreadableError(f"the environment variable {name} is not text")
        return _without_newline(value)

    def file(self, path: str) -> str:
        """Return the content of a file without one trailing newline; UnreadableError if it cannot be read."""
        if path not in self._texts:
            self._texts[path] = self._read(path)
        return self._texts[path]

    def _read(self, path: str) -> str:
        try:
            content = read_file(
                Path(expand_home(path)), max_bytes=MAX_SECRET_BYTES, only_regular=self._only_regular
            ).decode()
        except UnicodeDecodeError:
            raise UnreadableError(f"cannot read the file {path}: it is not text") from None
        except UnreadableError as error:
            raise UnreadableError(f"cannot read the file {path}: {error}") from None
        return _without_newline(content)


def read_file(path: Path, *, max_bytes: int, only_regular: bool) -> bytes:
    """Return the content of a file; UnreadableError if it cannot be read or is larger than `max_bytes`.

    With `only_regular` a pipe or a device is an error, too, and opening one does not wait.
    """
    added = os.O_NOCTTY | (os.O_NONBLOCK if only_regular else 0)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | added)) as file:
            if only_regular and not S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableError("it is not a regular file, so it can be read only at the start")
            content = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise UnreadableError(getattr(error, "strerror", None) or "its name is invalid") from None
    if len(content) > max_bytes:
        raise UnreadableError(f"it has more than {max_bytes} bytes")
    return content


def expand_home(path: str) -> str:
    """Replace `~` or `~USER` at the beginning of a path by that home folder; UnreadableError if it is unknown."""
    expanded = os.path.expanduser(path)  # noqa: PTH111 - a Path would read ./~ as ~
    if expanded.startswith("~"):
        raise UnreadableError(f"the home folder {path.partition('/')[0]} is unknown; write ./~ for a name with ~")
    return expanded


def _is_text(value: str) -> bool:
    """Return whether a variable was UTF-8; Python reads other bytes as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _without_newline(text: str) -> str:
    return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")
