"""Counts how many files refer to each blob and how many bytes each tenant has, inside a transaction of the caller.

A row of `blobs` has the key of some content and the number of files that refer
to it. Keys are never used twice, so an unreferenced blob can be deleted
after the transaction, whatever is uploaded in the meantime.

When the content of a damaged blob is uploaded again, the new blob takes over
the row and all files of the damaged one. The damaged blob is then unreferenced,
and the sweeper deletes it.

`block_sums` are the checksums of the blocks of the content. A blob that was
stored without them gets them from the next upload of its content.
"""

import sqlite3
from collections.abc import Iterable

from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.rows import fetch_one, fetch_value
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.ports.blob_store import BlobState, StoredContent

_FIND = "SELECT key, damaged FROM blobs WHERE sha256 = ? AND bytes = ? ORDER BY damaged"
_FIND_SHARED = f"{_FIND} DESC"
"""The query for the blob that a new upload of some content shares or, if it is damaged, replaces.

Its values are the SHA-256 and the size of the content.
"""
_STATE = "SELECT damaged, block_sums FROM blobs WHERE key = ?"
_INSERT = "INSERT INTO blobs (key, sha256, bytes, block_sums, holders) VALUES (?, ?, ?, ?, 1)"
_ADD_REFERENCE = "UPDATE blobs SET holders = holders + 1 WHERE key = ?"
_RELEASE = "UPDATE blobs SET holders = holders - 1 WHERE key = ? RETURNING holders"
_DELETE = "DELETE FROM blobs WHERE key = ?"
_NOTE_DAMAGE = "UPDATE blobs SET damaged = damaged + 1 WHERE key = ? RETURNING damaged"
_ADD_BLOCK_SUMS = "UPDATE blobs SET block_sums = ? WHERE key = ? AND block_sums IS NULL"
_REPLACE = "UPDATE blobs SET key = ?, damaged = 0, block_sums = ? WHERE key = ?"
# These scan all files. That is acceptable for something so rare; an index would make every upload slower.
_REPLACE_IN_FILES = [
    f"UPDATE {table} SET blob = ? WHERE blob = ? AND deleted_at IS NULL"  # noqa: S608 - constants
    for table in ("files", "tenant_files")
]
_TENANT_BYTES = "SELECT bytes FROM tenants WHERE tenant = ?"
_ADD_TENANT_BYTES = """
    INSERT INTO tenants (tenant, bytes) VALUES (?, ?) ON CONFLICT (tenant) DO UPDATE SET bytes = bytes + excluded.bytes
"""


class SqlBlobReferences:
    """The BlobReferences of all stores, which share the table `blobs` in `database`."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return the blob that a new upload would share; see BlobReferences."""
        blob: str | None = self._database.value(_FIND_SHARED, sha256, size)
        return blob

    async def blob_state(self, blob: str) -> BlobState | None:
        """Return what is known about a blob; see BlobReferences."""
        row = self._database.one(_STATE, blob)
        if row is None:
            return None
        damaged, block_sums = row
        return BlobState(is_damaged=damaged > 0, block_sums=block_sums)

    async def note_damage(self, blob: str) -> int:
        """Record that a blob is damaged; see BlobReferences."""
        return await self._database.write(lambda connection: _note_damage(connection, blob))


def reference_new(connection: sqlite3.Connection, stored: StoredContent) -> str:
    """Add a reference to content that was just stored; return its blob: an older one, unless that is damaged."""
    same = fetch_one(connection, _FIND_SHARED, stored.sha256, stored.bytes)
    if same is None:
        connection.execute(_INSERT, (stored.blob, stored.sha256, stored.bytes, stored.block_sums))
        return stored.blob
    blob, damaged = same
    if damaged:
        _replace(connection, blob, new=stored)
        blob = stored.blob
    elif stored.block_sums is not None:
        connection.execute(_ADD_BLOCK_SUMS, (stored.block_sums, blob))
    connection.execute(_ADD_REFERENCE, (blob,))
    return str(blob)


def reference_existing(connection: sqlite3.Connection, stored: StoredContent) -> str:
    """Add a reference to content that another file had a moment ago; return its current blob.

    NotFoundError if the content was released in the meantime.
    """
    blob = fetch_value(connection, _FIND, stored.sha256, stored.bytes)
    if blob is None:
        raise NotFoundError("The file is gone: it was deleted meanwhile.")
    connection.execute(_ADD_REFERENCE, (blob,))
    return str(blob)


def _note_damage(connection: sqlite3.Connection, blob: str) -> int:
    """Record that a blob is damaged; return how often that was recorded, 0 if the blob is unreferenced."""
    return int(fetch_value(connection, _NOTE_DAMAGE, blob) or 0)


def _replace(connection: sqlite3.Connection, blob: str, *, new: StoredContent) -> None:
    """Replace a damaged blob, in its row and in all files, by a new one of the same content."""
    connection.execute(_REPLACE, (new.blob, new.block_sums, blob))
    for query in _REPLACE_IN_FILES:
        connection.execute(query, (new.blob, blob))


def release_blobs(connection: sqlite3.Connection, blobs: Iterable[str]) -> list[str]:
    """Remove one reference per blob in `blobs`, which may repeat; return the blobs that are now unreferenced."""
    unreferenced = []
    for blob in blobs:
        holders = fetch_value(connection, _RELEASE, blob)
        if holders is not None and holders <= 0:
            connection.execute(_DELETE, (blob,))
            unreferenced.append(blob)
    return unreferenced


def charge(connection: sqlite3.Connection, tenant: str, size: int, *, maximum: int, param: str = "file") -> None:
    """Add `size` bytes, of the file that `param` names, to the total of a tenant.

    InvalidRequestError (`tenant_size_exceeded`) if the total would exceed `maximum`.
    """
    if (fetch_value(connection, _TENANT_BYTES, tenant) or 0) + size > maximum:
        message = f"All files together would hold more than {maximum} bytes with this file."
        raise InvalidRequestError(message, param=param, code="tenant_size_exceeded")
    refund(connection, tenant, -size)


def refund(connection: sqlite3.Connection, tenant: str, size: int) -> None:
    """Subtract `size` bytes from the total of a tenant."""
    connection.execute(_ADD_TENANT_BYTES, (tenant, -size))
