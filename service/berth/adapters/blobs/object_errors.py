"""Translates errors of an object store into errors for the caller.

The store's own message, which contains the keys of objects, stays in the exception's cause: it is only logged.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from berth.core.errors import NotFoundError, StorageError

CODE = "storage_unavailable"
FAILURES = (BaseError, OSError, ValueError)
"""What obstore raises; it has no base class for all of it."""
_MAX_REASON = 500
_CODE = re.compile(r"<Code>(\w+)</Code>")
_QUERY = re.compile(r"\?[^\s)]+")


class ObjectStoreError(Exception):
    """What an object store, or the way to it, has answered."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise NotFoundError for an object that does not exist, and StorageError for any other error of obstore."""
    try:
        yield
    except FileNotFoundError:
        raise NotFoundError("The file is gone: it was deleted meanwhile.") from None
    except FAILURES as error:
        raise failed(error) from reason(error)


def failed(error: Exception) -> StorageError:
    """Return the error for the caller; the message of `error` is not in it."""
    message = "The blob store refused the access." if _is_refusal(error) else "The blob store failed."
    return StorageError(message, code=CODE)


def reason(error: Exception) -> ObjectStoreError:
    """Return what an error says in one line, without the queries of URLs: Azure's may contain a signature."""
    text, _, _ = str(error).partition("\n\nDebug source:")
    summary, _, document = text.partition("<")  # the store's own answer in XML
    code = _CODE.search(document)
    line = " ".join(f"{summary}{code[1] if code else ''}".split())
    return ObjectStoreError(_QUERY.sub("?…", line)[:_MAX_REASON])


def _is_refusal(error: Exception) -> bool:
    return type(error).__name__ in {"PermissionDeniedError", "UnauthenticatedError"}
