"""The virtual key of a data folder, for a Berth whose configuration has no callers.

Made at the first start, so that there is no open mode and nothing to set up.
"""

import os
import secrets
from pathlib import Path

from berth.core.credentials import VIRTUAL_KEY_PREFIX
from berth.launch.refusal import StartError

NAME = "first-key"
TENANT = "default"
DIGITS = 48


def first_key(folder: Path) -> str:
    """Return the key that is kept in `folder`, making one if there is none. StartError if that cannot be."""
    path = folder / NAME
    try:
        if not path.exists():
            _write(path, VIRTUAL_KEY_PREFIX + secrets.token_hex(DIGITS // 2))
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"data_dir: cannot keep the first key in {path}: {error}") from error
    if not key.startswith(VIRTUAL_KEY_PREFIX):
        raise StartError(f"data_dir: {path} holds no virtual key; delete it to have a new one made")
    return key


def _write(path: Path, key: str) -> None:
    """Write the file whole or not at all, for its owner only."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
