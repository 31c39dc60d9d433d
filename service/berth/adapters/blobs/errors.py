"""Translates errors of the blob store into errors for the caller.

The system's own message stays in the exception's cause: it may contain paths.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from berth.core.errors import StorageError

_CODE = "storage_unavailable"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translated() -> Iterator[None]:
    """Raise StorageError for any OSError in the blob store."""
    try:
        yield
    except OSError as error:
        message = "The blob store's disk is full." if error.errno in _FULL else "The blob store failed."
        raise StorageError(message, code=_CODE) from error


def open_error(url: str, reason: str) -> StorageError:
    """Return the error, for the operator, of a blob store that cannot be opened."""
    return StorageError(f"Cannot open the blob store {url}: {reason}", code=_CODE)


def closed_error() -> StorageError:
    """Return the error of a blob store that is used after it was closed."""
    return StorageError("The blob store is closed.", code=_CODE)
