"""Files of this machine: those that are sent, and the places where downloads come to lie."""

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
"""What file systems allow a name to be."""
_MISLEADING_FIRST = ".-"
"""A dot would hide the file, and a dash makes an option of it."""


class Source(NamedTuple):
    """A file that is to be sent; `size` is None where nobody knows it before the end."""

    size: int | None
    pieces: Iterator[bytes]


def source_of(path: str) -> Source:
    """Open a file, or stdin for `-`. OSError if that cannot be."""
    # Without a buffer, whose lock a thread would hold that still reads when the program ends.
    opened = 0 if path == STDIO else path
    file = open(opened, "rb", buffering=0, closefd=path != STDIO)  # noqa: SIM115 - closed behind the last piece
    status = os.fstat(file.fileno())
    return Source(status.st_size if stat.S_ISREG(status.st_mode) else None, _pieces(file))


def safe_name(name: str) -> str:
    """Return the name that a file of somebody else's gets here: one of a plain file in the same folder.

    Folders are dropped, be they of POSIX or of Windows; what cannot be seen, or
    would hide the file, becomes an underscore. Empty if nothing is left.
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
    """Give a file that becomes `target` when the context ends well, and of which nothing stays when it does not.

    ClientError if something is there already: `force` lets a file be replaced,
    and nothing else.
    """
    _require_place(target, force=force)
    unfinished = target.with_name(f".berth-{secrets.token_hex(8)}.part")
    try:
        with unfinished.open("xb") as file:
            yield file
        if not force:
            _record(target)
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _require_place(target: Path, *, force: bool) -> None:
    if force and os.path.lexists(target) and not target.is_file():
        raise ClientError(f"{target}: is there already, and no plain file")
    if not force and os.path.lexists(target):
        raise _taken(target)


def _record(target: Path) -> None:
    """Make sure that what is replaced is our own: somebody else may have come since."""
    try:
        target.open("xb").close()
    except FileExistsError:
        raise _taken(target) from None


def _taken(target: Path) -> ClientError:
    return ClientError(f"{target}: is there already; --force replaces it, --output names another place")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece
