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

import json

from berth.adapters.sql.database import Database, Transaction
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
_LOCK = "SELECT key FROM blobs WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key"
# Lists of blobs are JSON: between statements, and between rows, this thread may wait for the event loop to release the
# GIL.
_RELEASE = """
    WITH released (key, number) AS (SELECT value, count(*) FROM json_each(?) GROUP BY value)
    UPDATE blobs SET holders = holders - released.number FROM released WHERE blobs.key = released.key
"""
_UNREFERENCED = """
    SELECT json_group_array(key) FROM blobs WHERE holders <= 0 AND key IN (SELECT value FROM json_each(?))
"""
_DELETE = "DELETE FROM blobs WHERE key IN (SELECT value FROM json_each(?))"
_NOTE_DAMAGE = "UPDATE blobs SET damaged = damaged + 1 WHERE key = ? RETURNING damaged"
_ADD_BLOCK_SUMS = "UPDATE blobs SET block_sums = ? WHERE key = ? AND block_sums IS NULL"
_REPLACE = "UPDATE blobs SET key = ?, damaged = 0, block_sums = ? WHERE key = ?"
# These scan all files. That is acceptable for something so rare; an index would make every upload slower.
_REPLACE_IN_FILES = [
    f"UPDATE {table} SET blob = ? WHERE blob = ? AND deleted_at IS NULL"  # noqa: S608 - constants
    for table in ("files", "tenant_files")
]
_ADD_TENANT_BYTES = """
    INSERT INTO tenants (tenant, bytes) VALUES (:tenant, :size)
    ON CONFLICT (tenant) DO UPDATE SET bytes = tenants.bytes + excluded.bytes
"""
_CHARGE = f"{_ADD_TENANT_BYTES} WHERE tenants.bytes + excluded.bytes <= :maximum"


class SqlBlobReferences:
    """The BlobReferences of all stores, which share the table `blobs` in `database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return the blob that a new upload would share; see BlobReferences."""
        blob: str | None = await self._database.value(_FIND_SHARED, sha256, size)
        return blob

    async def blob_state(self, blob: str) -> BlobState | None:
        """Return what is known about a blob; see BlobReferences."""
        row = await self._database.one(_STATE, blob)
        if row is None:
            return None
        damaged, block_sums = row
        return BlobState(is_damaged=damaged > 0, block_sums=block_sums)

    async def note_damage(self, blob: str) -> int:
        """Record that a blob is damaged; see BlobReferences."""
        return await self._database.write(lambda transaction: _note_damage(transaction, blob))


async def reference_new(transaction: Transaction, stored: StoredContent) -> str:
    """Add a reference to content that was just stored; return its blob: an older one, unless that is damaged."""
    await transaction.serialize("blob", stored.sha256)
    found = await transaction.lock(_FIND_SHARED, stored.sha256, stored.bytes)
    if not found:
        await transaction.run(_INSERT, stored.blob, stored.sha256, stored.bytes, stored.block_sums)
        return stored.blob
    blob, damaged = found[0]
    if damaged:
        await _replace(transaction, blob, new=stored)
        blob = stored.blob
    elif stored.block_sums is not None:
        await transaction.run(_ADD_BLOCK_SUMS, stored.block_sums, blob)
    await transaction.run(_ADD_REFERENCE, blob)
    return str(blob)


async def reference_existing(transaction: Transaction, stored: StoredContent) -> str:
    """Add a reference to content that another file had a moment ago; return its current blob.

    NotFoundError if the content was released in the meantime.
    """
    found = await transaction.lock(_FIND, stored.sha256, stored.bytes)
    if not found:
        raise NotFoundError("The file is gone: it was deleted meanwhile.")
    blob = found[0][0]
    await transaction.run(_ADD_REFERENCE, blob)
    return str(blob)


async def _note_damage(transaction: Transaction, blob: str) -> int:
    """Record that a blob is damaged; return how often that was recorded, 0 if the blob is unreferenced."""
    return int(await transaction.value(_NOTE_DAMAGE, blob) or 0)


async def _replace(transaction: Transaction, blob: str, *, new: StoredContent) -> None:
    """Replace a damaged blob, in its row and in all files, by a new one of the same content."""
    await transaction.run(_REPLACE, new.blob, new.block_sums, blob)
    for query in _REPLACE_IN_FILES:
        await transaction.run(query, new.blob, blob)


async def release_blobs(transaction: Transaction, blobs: str) -> list[str]:
    """Remove one reference per blob in `blobs`, a JSON list that may repeat; return those that are now unreferenced."""
    await transaction.lock_only(_LOCK, blobs)
    await transaction.run(_RELEASE, blobs)
    unreferenced = await transaction.value(_UNREFERENCED, blobs)
    await transaction.run(_DELETE, unreferenced)
    keys: list[str] = json.loads(unreferenced)
    return keys


async def charge(transaction: Transaction, tenant: str, size: int, *, maximum: int, param: str = "file") -> None:
    """Add `size` bytes, of the file that `param` names, to the total of a tenant.

    InvalidRequestError (`tenant_size_exceeded`) if the total would exceed `maximum`.
    """
    is_charged = size <= maximum and await transaction.run(_CHARGE, tenant=tenant, size=size, maximum=maximum)
    if not is_charged:
        message = f"All files together would hold more than {maximum} bytes with this file."
        raise InvalidRequestError(message, param=param, code="tenant_size_exceeded")


async def refund(transaction: Transaction, tenant: str, size: int) -> None:
    """Subtract `size` bytes from the total of a tenant."""
    await transaction.run(_ADD_TENANT_BYTES, tenant=tenant, size=-size)
