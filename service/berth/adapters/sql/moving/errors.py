"""Errors of copies, for the operator."""

from berth.adapters.sql.errors import UNAVAILABLE
from berth.core.errors import StorageError


def other_copy_error(place: str, source: str, advice: str) -> StorageError:
    """Return the error of a database that has an unfinished copy of something else."""
    return StorageError(f"The store {place} has an unfinished copy of {source}; {advice}.", code=UNAVAILABLE)


def has_rows_error(place: str, table: str) -> StorageError:
    """Return the error of a database that is not empty."""
    return StorageError(f"The store {place} is not empty: it has {table}. Copy into a new database.", code=UNAVAILABLE)


def in_use_error(place: str) -> StorageError:
    """Return the error of a database that a Berth uses."""
    return StorageError(f"The store {place} is in use by a Berth; stop all of them first.", code=UNAVAILABLE)


def other_copy_running_error(place: str) -> StorageError:
    """Return the error of a database that another process copies rows into."""
    return StorageError(f"Another copy into the store {place} is running.", code=UNAVAILABLE)


def clash_error(table: str, place: str) -> StorageError:
    """Return the error of rows that have the same unique values as others that are there."""
    message = f"Rows of {table} clash with others in the store {place}; begin again with an empty database."
    return StorageError(message, code=UNAVAILABLE)


def text_error(table: str, key: object) -> StorageError:
    """Return the error of a row with a text that PostgreSQL cannot store."""
    message = f"The row {key} of {table} has a text with NUL, which PostgreSQL cannot store; delete it in the source."
    return StorageError(message, code=UNAVAILABLE)


def number_error(table: str) -> StorageError:
    """Return the error of rows with a number that is too large for PostgreSQL, such as a limit of a key."""
    message = f"A row of {table} has a number that PostgreSQL cannot store; set one below 2147483648 in the source."
    return StorageError(message, code=UNAVAILABLE)
