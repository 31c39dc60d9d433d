"""Errors of the database, and of a lookup in it, in words for the caller.

What exactly the database said stays in the exception's cause: it may name
paths and values, which are nothing for a caller.
"""

import sqlite3
from pathlib import Path

from berth.core.errors import InvalidRequestError, StorageError
from berth.core.validation import shown

_CODE = "storage_unavailable"
_PRIMARY_CODE = 0xFF  # the low byte; the rest of an extended code is detail
_REASONS = {
    sqlite3.SQLITE_FULL: "The store's disk is full.",
    sqlite3.SQLITE_BUSY: "The store is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The store is locked by another process.",
    sqlite3.SQLITE_READONLY: "The store may not be written to.",
    sqlite3.SQLITE_PERM: "The store may not be opened.",
    sqlite3.SQLITE_CANTOPEN: "The store's database file cannot be opened.",
    sqlite3.SQLITE_CORRUPT: "The store's database file is damaged.",
    sqlite3.SQLITE_NOTADB: "The store's database file is not a database.",
    sqlite3.SQLITE_IOERR: "The store's disk could not be read or written.",
}


def translated(error: Exception) -> Exception:
    """Return what to tell the caller about `error`; it is its own answer unless it is of the database."""
    if isinstance(error, sqlite3.Error):
        return StorageError(_reason(error), code=_CODE)
    if isinstance(error, UnicodeEncodeError):
        return InvalidRequestError("Text must be valid Unicode.", code="invalid_value")
    return error


def open_error(path: Path, error: Exception) -> StorageError:
    """Return what to tell the operator about a database that cannot be opened."""
    reason = error.strerror if isinstance(error, OSError) else _reason(error)
    return StorageError(f"Cannot open the store {path}: {reason}", code=_CODE)


def newer_schema_error(path: Path) -> StorageError:
    """Return the error of a database that a newer version of the service has migrated."""
    message = f"Cannot open the store {path}: it was made by a newer version of the service."
    return StorageError(message, code=_CODE)


def bad_url(reason: str) -> StorageError:
    """Return the error of a URL that names no database."""
    return StorageError(f"Cannot open the store: {reason}", code=_CODE)


def closed_error() -> StorageError:
    """Return the error of a store that is used after it was closed."""
    return StorageError("The store is closed.", code=_CODE)


def is_busy(error: Exception) -> bool:
    """Tell whether another process is in the way, for now."""
    return _code(error) == sqlite3.SQLITE_BUSY


def _reason(error: Exception) -> str:
    return _REASONS.get(_code(error), "The store failed.")


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & _PRIMARY_CODE


def bad_cursor(resource: str, after: str) -> InvalidRequestError:
    """Return the error of an `after` that names no `resource` in the list."""
    message = f"Invalid 'after': no {resource} with the id '{shown(after)}'."
    return InvalidRequestError(message, param="after", code="invalid_value")
