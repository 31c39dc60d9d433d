"""Errors of the blob store in words for the caller.

What exactly failed stays in the exception's cause: it may name paths.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from berth.core.errors import NotFoundError, StorageError

_CODE = "storage_unavailable"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def found() -> Iterator[None]:
    """Raise NotFoundError if there is no such blob, StorageError for all else that goes wrong."""
    with translated():
        try:
            yield
        except FileNotFoundError as error:
            raise NotFoundError("The file is gone: it was deleted meanwhile.") from error


@contextmanager
def translated() -> Iterator[None]:
    """Raise StorageError for whatever goes wrong in the blob store."""
    try:
        yield
    except (OSError, BaseError) as error:
        message = "The blob store's disk is full." if is_full(error) else "The blob store failed."
        raise StorageError(message, code=_CODE) from error


def open_error(url: str, reason: str) -> StorageError:
    """Return what to tell the operator about a blob store that cannot be opened."""
    return StorageError(f"Cannot open the blob store {url}: {reason}", code=_CODE)


def is_full(error: Exception) -> bool:
    """Tell whether the disk, or the share of it that is ours, is full. obstore has the number only in its text."""
    number = getattr(error, "errno", None)
    return number in _FULL or any(f"(os error {code})" in str(error) for code in _FULL)
