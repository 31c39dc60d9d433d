"""The secrets that are generated in the data folder at the first start.

The first key is the virtual key of a Berth without configured callers, so that a new installation needs no set-up and
is not open to everyone. The direct secret derives tenants from callers' own provider keys.
"""

import os
import secrets
from pathlib import Path

from berth.core.auth.credentials import VIRTUAL_KEY_PREFIX
from berth.launch.refusal import StartError

FIRST_KEY = "first-key"
DIRECT_SECRET = "direct-secret"  # noqa: S105 - the name of a file
TENANT = "default"
DIGITS = 48


def first_key(folder: Path) -> str:
    """Return the first key in `folder`, and create it if there is none; raise StartError if that fails."""
    key = _read_or_create(folder / FIRST_KEY, VIRTUAL_KEY_PREFIX + secrets.token_hex(DIGITS // 2))
    if not key.startswith(VIRTUAL_KEY_PREFIX):
        raise StartError(f"data_dir: {folder / FIRST_KEY} holds no virtual key; delete it to have a new one made")
    return key


def read_first_key(folder: Path) -> str | None:
    """Return the first key in `folder`, None if there is none; raise StartError if it cannot be read."""
    return first_key(folder) if (folder / FIRST_KEY).exists() else None


def direct_secret(folder: Path) -> str:
    """Return the direct secret in `folder`, and create it if there is none; raise StartError if that fails."""
    return _read_or_create(folder / DIRECT_SECRET, secrets.token_hex(DIGITS // 2))


def _read_or_create(path: Path, new: str) -> str:
    try:
        if not path.exists():
            _write(path, new)
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"data_dir: cannot store a secret in {path}: {error}") from error


def _write(path: Path, text: str) -> None:
    """Write the file atomically, readable by its owner only."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
