"""Errors of what is asked of a database, whichever it is."""

from berth.core.errors import InvalidRequestError, StorageError
from berth.core.validation import shown

UNAVAILABLE = "storage_unavailable"
"""The code of errors of a database that cannot be used."""


class ConflictError(Exception):
    """A row cannot be added, because there is one with the same unique values. The transaction has to end."""


def bad_cursor(resource: str, after: str) -> InvalidRequestError:
    """Return the error of an `after` that is not the id of a `resource` in the list."""
    message = f"Invalid 'after': no {resource} with the id '{shown(after)}'."
    return InvalidRequestError(message, param="after", code="invalid_value")


def bad_text(reason: str = "must be valid Unicode") -> InvalidRequestError:
    """Return the error of a text that cannot be stored."""
    return InvalidRequestError(f"Text {reason}.", code="invalid_value")


def unavailable(message: str) -> StorageError:
    """Return the error of a database that fails now, and may work again soon."""
    return StorageError(message, code=UNAVAILABLE)


def closed_error() -> StorageError:
    """Return the error of a store that is used after it was closed."""
    return unavailable("The store is closed.")


def bad_url(reason: str) -> StorageError:
    """Return the error of a URL that is not one of a database."""
    return StorageError(f"Cannot open the store: {reason}", code=UNAVAILABLE)
