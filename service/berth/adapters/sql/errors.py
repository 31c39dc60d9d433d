"""Translates errors of the database into errors for the caller.

The database's own message stays in the exception's cause: it may contain
paths and values, which callers must not see.
"""

import sqlite3
from pathlib import Path

from berth.core.errors import InvalidRequestError, StorageError
from berth.core.validation import shown

_CODE = "storage_unavailable"
_PRIMARY_CODE = 0xFF  # the low byte of an extended error code; the other bytes are detail
_REASONS = {
    sqlite3.SQLITE_FULL: "The store's disk is full.",
    sqlite3.SQLITE_BUSY: "The store is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The store is locked by another process.",
    sqlite3.SQLITE_READONLY: "The store is read-only.",
    sqlite3.SQLITE_PERM: "Access to the store was denied.",
    sqlite3.SQLITE_CANTOPEN: "The store's database file cannot be opened.",
    sqlite3.SQLITE_CORRUPT: "The store's database file is damaged.",
    sqlite3.SQLITE_NOTADB: "The store's database file is not a database.",
    sqlite3.SQLITE_IOERR: "The store's disk could not be read or written.",
}


def translate(error: Exception) -> Exception:
    """Return the error to raise to the caller for `error`: `error` itself if it is not one of the database."""
    if isinstance(error, sqlite3.Error):
        return StorageError(_reason(error), code=_CODE)
    if isinstance(error, UnicodeEncodeError):
        return InvalidRequestError("Text must be valid Unicode.", code="invalid_value")
    return error


def open_error(path: Path, error: Exception) -> StorageError:
    """Return the error, for the operator, of a database that cannot be opened."""
    reason = error.strerror if isinstance(error, OSError) else _reason(error)
    return StorageError(f"Cannot open the store {path}: {reason}", code=_CODE)


def newer_schema_error(path: Path) -> StorageError:
    """Return the error of a database that a newer version of the service has migrated."""
    message = f"Cannot open the store {path}: it was made by a newer version of the service."
    return StorageError(message, code=_CODE)


def missing_error(path: Path) -> StorageError:
    """Return the error of a database that has to exist and does not."""
    return StorageError(f"Cannot open the store {path}: there is no such file.", code=_CODE)


def other_schema_error(path: Path) -> StorageError:
    """Return the error of a database that must not be migrated now and has another schema."""
    message = f"Cannot open the store {path}: it belongs to another version of the service, or was not migrated yet."
    return StorageError(message, code=_CODE)


def shared_schema_error(path: Path, revision: str) -> StorageError:
    """Return the error of a database that cannot be migrated while an older version of the service uses it."""
    advice = "Stop the running version first, instead of replacing it."
    message = f"Cannot open the store {path}: migration {revision} needs it for itself. {advice}"
    return StorageError(message, code=_CODE)


def bad_url(reason: str) -> StorageError:
    """Return the error of a URL that is not one of a SQLite database."""
    return StorageError(f"Cannot open the store: {reason}", code=_CODE)


def closed_error() -> StorageError:
    """Return the error of a store that is used after it was closed."""
    return StorageError("The store is closed.", code=_CODE)


def is_busy(error: Exception) -> bool:
    """Return whether the database is locked by another process."""
    return _code(error) == sqlite3.SQLITE_BUSY


def is_full(error: Exception | None) -> bool:
    """Return whether the disk is full, where the database or its shared memory is."""
    code = int(getattr(error, "sqlite_errorcode", 0))
    return code & _PRIMARY_CODE == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE


def _reason(error: Exception) -> str:
    return _REASONS.get(_code(error), "The store failed.")


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY_CODE


def bad_cursor(resource: str, after: str) -> InvalidRequestError:
    """Return the error of an `after` that is not the id of a `resource` in the list."""
    message = f"Invalid 'after': no {resource} with the id '{shown(after)}'."
    return InvalidRequestError(message, param="after", code="invalid_value")
