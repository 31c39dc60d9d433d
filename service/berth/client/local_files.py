"""Opens local files for uploads and writes downloads to local files."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from berth.client.errors import ClientError
from berth.client.text import is_plain

PIECE_BYTES = 256 * 1024
STDIO = "-"
MAX_NAME_BYTES = 255
"""The longest file name that common file systems allow."""
_MISLEADING_FIRST = ".-"
"""A leading dot hides a file; a leading dash makes its name look like an option."""


class Source(NamedTuple):
    """A file to upload; `size` (bytes) is None if it is unknown before the end, as for a pipe."""

    size: int | None
    pieces: Iterator[bytes]


def source_of(path: str) -> Source:
    """Open a file, or stdin for `-`; raise OSError if that fails."""
    # Unbuffered: a buffer has a lock, which a thread that is still reading would hold when the program ends.
    opened = 0 if path == STDIO else path
    file = open(opened, "rb", buffering=0, closefd=path != STDIO)  # noqa: SIM115 - closed after the last piece
    status = os.fstat(file.fileno())
    return Source(status.st_size if stat.S_ISREG(status.st_mode) else None, _pieces(file))


def safe_name(name: str) -> str:
    """Return a safe local name for a file that was named by someone else.

    Folders are dropped, with `/` or backslashes; invisible characters, and a leading dot or dash, become underscores.
    The result is empty if nothing remains.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(letter if is_plain(letter) else "_" for letter in last)
    if plain in {".", ".."}:
        return ""
    if plain.startswith(tuple(_MISLEADING_FIRST)):
        plain = "_" + plain[1:]
    return plain.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


@contextmanager
def landing(target: Path, *, force: bool) -> Iterator[BinaryIO]:
    """Open a temporary file that becomes `target` if the context succeeds and is deleted if it fails.

    Raises ClientError if `target` exists, unless `force` is set and it is a regular file.
    """
    _require_writable(target, force=force)
    unfinished = target.with_name(f".berth-{secrets.token_hex(8)}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
        if not force:
            _reserve(target)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _require_writable(target: Path, *, force: bool) -> None:
    if force and os.path.lexists(target) and not target.is_file():
        raise ClientError(f"{target}: exists already and is not a regular file")
    if not force and os.path.lexists(target):
        raise _exists_error(target)


def _reserve(target: Path) -> None:
    """Create `target` exclusively, in case another process has created it since the first check."""
    try:
        target.open("xb").close()
    except FileExistsError:
        raise _exists_error(target) from None


def _exists_error(target: Path) -> ClientError:
    return ClientError(f"{target}: exists already; use --force to replace it, or --output to choose another path")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece
