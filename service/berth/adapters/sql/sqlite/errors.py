"""Translates errors of SQLite into errors for the caller.

The database's own message stays in the exception's cause: it may contain
paths and values, which callers must not see.
"""

import sqlite3
from pathlib import Path

from berth.adapters.sql.errors import UNAVAILABLE, ConflictError, bad_text, unavailable
from berth.core.errors import StorageError

RESTORING = ".restoring"
"""What is added to the name of a database while a backup is restored into it."""
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
        return unavailable(_reason(error))
    if isinstance(error, UnicodeEncodeError):
        return bad_text()
    if isinstance(error, ConflictError):
        return unavailable("The store failed.")
    return error


def open_error(path: Path, error: Exception) -> StorageError:
    """Return the error, for the operator, of a database that cannot be opened."""
    reason = error.strerror if isinstance(error, OSError) else _reason(error)
    return StorageError(f"Cannot open the store {path}: {reason}", code=UNAVAILABLE)


def newer_schema_error(path: Path) -> StorageError:
    """Return the error of a database that a newer version of the service has migrated."""
    message = f"Cannot open the store {path}: it was made by a newer version of the service."
    return StorageError(message, code=UNAVAILABLE)


def missing_error(path: Path) -> StorageError:
    """Return the error of a database that has to exist and does not."""
    return StorageError(f"Cannot open the store {path}: there is no such file.", code=UNAVAILABLE)


def existing_error(path: Path) -> StorageError:
    """Return the error of a file that is in the place of a new database."""
    return StorageError(f"store.url: {path} exists; move it away to have another database there", code=UNAVAILABLE)


def unfinished_restore_error(path: Path) -> StorageError:
    """Return the error of a database into which a backup was not restored completely."""
    advice = f"Run the command again, or delete {path}{RESTORING} to start without these data."
    message = f"Cannot open the store {path}: restoring a backup was not finished, or copying a store. {advice}"
    return StorageError(message, code=UNAVAILABLE)


def other_schema_error(path: Path) -> StorageError:
    """Return the error of a database that must not be migrated now and has another schema."""
    message = f"Cannot open the store {path}: it belongs to another version of the service, or was not migrated yet."
    return StorageError(message, code=UNAVAILABLE)


def shared_schema_error(path: Path, revision: str) -> StorageError:
    """Return the error of a database that cannot be migrated while an older version of the service uses it."""
    advice = "Stop the running version first, instead of replacing it."
    message = f"Cannot open the store {path}: migration {revision} needs it for itself. {advice}"
    return StorageError(message, code=UNAVAILABLE)


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
