"""Who holds which bytes, inside a transaction of the caller's.

A row of `blobs` says where some content lies and how many files have it. As
keys are never used twice, a blob whose last holder is gone can be removed after
the transaction, whatever is uploaded meanwhile.
"""

import sqlite3
from collections.abc import Iterable

from berth.adapters.sql_rows import fetch_one
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.stores import StoredBytes

_SAME = "SELECT key FROM blobs WHERE sha256 = ? AND bytes = ?"
_INSERT = "INSERT INTO blobs (key, sha256, bytes, holders) VALUES (?, ?, ?, 1)"
_HOLD = "UPDATE blobs SET holders = holders + 1 WHERE key = ?"
_LET_GO = "UPDATE blobs SET holders = holders - 1 WHERE key = ? RETURNING holders"
_DELETE = "DELETE FROM blobs WHERE key = ?"
_HELD = "SELECT bytes FROM tenants WHERE tenant = ?"
_CHARGE = """
    INSERT INTO tenants (tenant, bytes) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes
"""


def hold_new(connection: sqlite3.Connection, stored: StoredBytes) -> str:
    """Hold bytes that were just stored; return the blob that has them, which may be an older one."""
    same = fetch_one(connection, _SAME, stored.sha256, stored.bytes)
    if same is None:
        connection.execute(_INSERT, (stored.blob, stored.sha256, stored.bytes))
        return stored.blob
    hold(connection, same[0])
    return str(same[0])


def hold(connection: sqlite3.Connection, blob: str) -> None:
    """Hold a blob once more. NotFoundError if its last holder let go of it."""
    if not connection.execute(_HOLD, (blob,)).rowcount:
        raise NotFoundError("The file is gone: it was deleted meanwhile.")


def let_go(connection: sqlite3.Connection, blobs: Iterable[str]) -> list[str]:
    """Let go of blobs, of each as often as it is named; return those that nobody holds any more."""
    unheld = []
    for blob in blobs:
        row = fetch_one(connection, _LET_GO, blob)
        if row is not None and row[0] <= 0:
            connection.execute(_DELETE, (blob,))
            unheld.append(blob)
    return unheld


def charge(connection: sqlite3.Connection, tenant: str, size: int, *, maximum: int) -> None:
    """Count `size` bytes for a tenant.

    InvalidRequestError (`tenant_size_exceeded`) if that makes more than `maximum`.
    """
    row = fetch_one(connection, _HELD, tenant)
    if (row[0] if row else 0) + size > maximum:
        message = f"All files together would hold more than {maximum} bytes with this file."
        raise InvalidRequestError(message, param="file", code="tenant_size_exceeded")
    refund(connection, tenant, -size)


def refund(connection: sqlite3.Connection, tenant: str, size: int) -> None:
    """Take `size` bytes off what a tenant holds."""
    connection.execute(_CHARGE, (tenant, -size))
