"""The paths of files inside a container.

Paths are absolute, normalised POSIX paths below /mnt/data. They are names in the store, never paths
on the machine that the service runs on; the rules make them safe to create in a sandbox.
"""

import re
import unicodedata

from berth.core.limits import limits_of
from berth.core.validation import check_length, invalid
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest

ROOT = "/mnt/data"
MAX_PATH_BYTES = limits_of(CreateContainerFileRequest, "file_path").max_bytes
MAX_PART_BYTES = 255
"""The maximum length of a single name in common file systems."""
UNIQUE_DIGITS = 32
MAX_FILENAME_BYTES = MAX_PART_BYTES - UNIQUE_DIGITS - 1
"""The 222 bytes that remain for the file's own name after the unique digits and the dash."""
DEFAULT_FILENAME = "file"
_WINDOWS_PATH = re.compile(r"[A-Za-z]:\\|\\\\")
"""The start of a Windows path; in any other name a backslash is an ordinary character."""


def container_path(file_path: str | None, filename: str, *, unique: str) -> str:
    """Return the path of a file: the normalised `file_path`, or a unique path if it is None.

    `filename` must come from `clean_filename`; `unique` is 32 hexadecimal digits.
    InvalidRequestError for a `file_path` that is not below /mnt/data, contains `..`, control
    characters or a name of more than 255 bytes, or does not name a file.
    """
    if file_path is None:
        return f"{ROOT}/{unique}-{filename}"
    path = file_path if file_path.startswith("/") else f"{ROOT}/{file_path}"
    _check_bytes(path, "file_path", maximum=MAX_PATH_BYTES)
    _check_characters(path, "file_path")
    parts = _parts_below_root(path)
    if not parts or path.endswith("/"):
        raise invalid("file_path", "it must name a file")
    for part in parts:
        _check_bytes(part, "file_path", maximum=MAX_PART_BYTES)
    return "/".join((ROOT, *parts))


def clean_filename(filename: str | None) -> str:
    """Return a file's own name without the folders that some clients put before it.

    The name is "file" if there is none. InvalidRequestError for a name with control characters or
    of more than 222 bytes.
    """
    name = filename or ""
    if _WINDOWS_PATH.match(name):
        name = name.replace("\\", "/")
    name = name.rsplit("/", 1)[-1]
    _check_bytes(name, "filename", maximum=MAX_FILENAME_BYTES)
    _check_characters(name, "filename")
    return DEFAULT_FILENAME if name in {"", ".", ".."} else name


def _parts_below_root(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise invalid("file_path", "'..' is not allowed")
    root = ROOT.strip("/").split("/")
    if parts[: len(root)] != root:
        raise invalid("file_path", f"it must be below {ROOT}")
    return parts[len(root) :]


def _check_bytes(text: str, param: str, *, maximum: int) -> None:
    # An unpaired surrogate has no UTF-8 encoding; _check_characters rejects it.
    length = len(text.encode(errors="surrogatepass"))
    check_length(length, param, maximum=maximum, what="string", unit="length in bytes")


def _check_characters(text: str, param: str) -> None:
    # Cc: control characters; Cs: unpaired surrogates.
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise invalid(param, "control characters are not allowed")
