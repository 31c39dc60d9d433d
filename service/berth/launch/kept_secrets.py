"""The secrets that are generated in the data folder at the first start.

The first key is the virtual key of a Berth without configured callers, so that a new installation needs no set-up and
is not open to everyone. The direct secret derives tenants from callers' own provider keys.
"""

import os
import secrets
from pathlib import Path

from berth.core.auth.credentials import VIRTUAL_KEY_PREFIX
from berth.launch.refusal import StartError
from berth.launch.trusted_files import read_private, read_regular

FIRST_KEY = "first-key"
DIRECT_SECRET = "direct-secret"  # noqa: S105 - the name of a file
SECRETS = (FIRST_KEY, DIRECT_SECRET)
TENANT = "default"
DIGITS = 48


def first_key(folder: Path) -> str:
    """Return the first key in `folder`, and create it if there is none; raise StartError if that fails."""
    return _require_key(
        folder / FIRST_KEY, _read_or_create(folder / FIRST_KEY, VIRTUAL_KEY_PREFIX + secrets.token_hex(DIGITS // 2))
    )


def read_first_key(folder: Path) -> str | None:
    """Return the first key in `folder`, for a call to the Berth that made it; None if there is none.

    Raises StartError if it cannot be read. It may belong to another user, for whom this user calls.
    """
    path = folder / FIRST_KEY
    try:
        return _require_key(path, _text(read_regular(path)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartError(f"data_dir: cannot read {path}: {error.strerror}") from error


def direct_secret(folder: Path) -> str:
    """Return the direct secret in `folder`, and create it if there is none; raise StartError if that fails."""
    secret = _read_or_create(folder / DIRECT_SECRET, secrets.token_hex(DIGITS // 2))
    if not secret:
        raise StartError(
            f"data_dir: {folder / DIRECT_SECRET} is empty; restore it, or delete it to have a new one made"
        )
    return secret


def _require_key(path: Path, text: str) -> str:
    if not text.startswith(VIRTUAL_KEY_PREFIX):
        raise StartError(f"data_dir: {path} holds no virtual key; delete it to have a new one made")
    return text


def copy_secrets(source: Path, target: Path) -> None:
    """Copy the secrets that are in the folder `source`, and replace those in `target`. OSError if that fails."""
    for name in SECRETS:
        if (source / name).is_file():
            _write(target / name, (source / name).read_text(encoding="ascii").strip())


def _read_or_create(path: Path, new: str) -> str:
    try:
        try:
            return _text(read_private(path))
        except FileNotFoundError:
            _write(path, new)
            return new
    except OSError as error:
        raise StartError(f"data_dir: cannot use the secret in {path}: {error.strerror}") from error


def _text(content: bytes) -> str:
    return content.decode("ascii", "replace").strip()


def _write(path: Path, text: str) -> None:
    """Write the file atomically, readable by its owner only."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
