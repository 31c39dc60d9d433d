"""Who holds which bytes, inside a transaction of the caller's.

A row of `blobs` says where some content lies and how many files have it. As
keys are never used twice, a blob whose last holder is gone can be removed after
the transaction, whatever is uploaded meanwhile.

The first upload of a content that is known to be damaged brings it anew: its
blob takes over the row and all files of the damaged one, which nobody holds
from then on, and which the sweep removes.
"""

import sqlite3
from collections.abc import Iterable

from berth.adapters.sql.rows import fetch_one
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.ports.blob_store import StoredContent

_SAME = "SELECT key, damaged FROM blobs WHERE sha256 = ? AND bytes = ? ORDER BY damaged"
SHARED = f"{_SAME} DESC"
"""The query for what has some content already; its values are a SHA-256 and a size."""
_INSERT = "INSERT INTO blobs (key, sha256, bytes, holders) VALUES (?, ?, ?, 1)"
_HOLD = "UPDATE blobs SET holders = holders + 1 WHERE key = ?"
_RELEASE = "UPDATE blobs SET holders = holders - 1 WHERE key = ? RETURNING holders"
_DELETE = "DELETE FROM blobs WHERE key = ?"
_NOTE_DAMAGE = "UPDATE blobs SET damaged = damaged + 1 WHERE key = ? RETURNING damaged"
_REPLACE = "UPDATE blobs SET key = ?, damaged = 0 WHERE key = ?"
# They look at every file, which is worth it for what hardly ever happens; an index would cost every upload.
_REFER_ANEW = [
    f"UPDATE {table} SET blob = ? WHERE blob = ? AND deleted_at IS NULL"  # noqa: S608 - constants
    for table in ("files", "tenant_files")
]
_HELD = "SELECT bytes FROM tenants WHERE tenant = ?"
_CHARGE = """
    INSERT INTO tenants (tenant, bytes) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes
"""


def hold_new(connection: sqlite3.Connection, stored: StoredContent) -> str:
    """Hold bytes that were just stored; return the blob that has them, which is an older one if that is good."""
    same = fetch_one(connection, SHARED, stored.sha256, stored.bytes)
    if same is None:
        connection.execute(_INSERT, (stored.blob, stored.sha256, stored.bytes))
        return stored.blob
    blob, damaged = same
    if damaged:
        _replace(connection, blob, new=stored.blob)
        blob = stored.blob
    connection.execute(_HOLD, (blob,))
    return str(blob)


def hold(connection: sqlite3.Connection, stored: StoredContent) -> str:
    """Hold bytes that a file had a moment ago once more; return the blob that has them now.

    NotFoundError if their last holder let go of them.
    """
    same = fetch_one(connection, _SAME, stored.sha256, stored.bytes)
    if same is None:
        raise NotFoundError("The file is gone: it was deleted meanwhile.")
    connection.execute(_HOLD, (same[0],))
    return str(same[0])


def note_damage(connection: sqlite3.Connection, blob: str) -> int:
    """Note that a blob is damaged; return how often that was noted, 0 if nobody holds it."""
    row = fetch_one(connection, _NOTE_DAMAGE, blob)
    return int(row[0]) if row else 0


def _replace(connection: sqlite3.Connection, blob: str, *, new: str) -> None:
    """Give all files of a damaged blob to a new one of the same content."""
    connection.execute(_REPLACE, (new, blob))
    for query in _REFER_ANEW:
        connection.execute(query, (new, blob))


def release_blobs(connection: sqlite3.Connection, blobs: Iterable[str]) -> list[str]:
    """Let go of blobs, of each as often as it is named; return those that nobody holds any more."""
    unreferenced = []
    for blob in blobs:
        row = fetch_one(connection, _RELEASE, blob)
        if row is not None and row[0] <= 0:
            connection.execute(_DELETE, (blob,))
            unreferenced.append(blob)
    return unreferenced


def charge(connection: sqlite3.Connection, tenant: str, size: int, *, maximum: int, param: str = "file") -> None:
    """Count `size` bytes of the file that `param` names for a tenant.

    InvalidRequestError (`tenant_size_exceeded`) if that makes more than `maximum`.
    """
    row = fetch_one(connection, _HELD, tenant)
    if (row[0] if row else 0) + size > maximum:
        message = f"All files together would hold more than {maximum} bytes with this file."
        raise InvalidRequestError(message, param=param, code="tenant_size_exceeded")
    refund(connection, tenant, -size)


def refund(connection: sqlite3.Connection, tenant: str, size: int) -> None:
    """Take `size` bytes off what a tenant holds."""
    connection.execute(_CHARGE, (tenant, -size))
