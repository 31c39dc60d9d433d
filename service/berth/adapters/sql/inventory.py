"""SqlInventory: the Inventory in a database. Its queries scan whole tables, so the service itself does not use them."""

# ruff: noqa: S608 - all queries are put together from constants

from collections.abc import Sequence

from berth.adapters.sql.blob_references import SqlBlobReferences
from berth.adapters.sql.database import Transaction
from berth.core.ports.blob_store import StoredContent
from berth.core.ports.inventory import BlobRow, SumKind, WrongSum

_LIST_BLOBS = """
    SELECT key, sha256, bytes, block_sums, damaged FROM blobs
    WHERE key > :after AND holders > 0 ORDER BY key LIMIT :limit
"""
# All references of files to blobs. Files of passthrough backends have none. Those that are left of a deleted container
# have no tenant: they do not count for its quota any more.
_REFERENCES = """
    SELECT files.id, files.blob, files.sha256, files.bytes,
        CASE WHEN containers.deleted_at IS NULL THEN containers.tenant END
    FROM files JOIN containers ON containers.seq = files.container_seq WHERE files.deleted_at IS NULL
    UNION ALL SELECT id, blob, sha256, bytes, tenant FROM tenant_files WHERE deleted_at IS NULL AND blob != ''
"""
_WITH = f"WITH refs (id, blob, sha256, bytes, tenant) AS ({_REFERENCES})"
_FILES_OF = f"{_WITH} SELECT id FROM refs WHERE blob = :blob LIMIT :limit"
_WITHOUT_ROW = f"{_WITH} SELECT DISTINCT blob FROM refs WHERE blob NOT IN (SELECT key FROM blobs)"
_HAS_ROW = "SELECT 1 FROM blobs WHERE key = ?"
_MISMATCHED = f"""
    {_WITH} SELECT refs.id FROM refs JOIN blobs ON blobs.key = refs.blob
    WHERE refs.sha256 != blobs.sha256 OR refs.bytes != blobs.bytes LIMIT :limit
"""
# What a key has stored at a provider. Files without a key are not counted: older versions and providers made them.
_ACCOUNTS = """
    SELECT tenant, created_by, provider, CAST(sum(bytes) AS BIGINT) FROM tenant_files
    WHERE deleted_at IS NULL AND blob != '' AND created_by IS NOT NULL GROUP BY tenant, created_by, provider
"""
_WRONG = {
    SumKind.CONTAINER_BYTES: """
        SELECT containers.id, containers.bytes, CAST(coalesce(sum(files.bytes), 0) AS BIGINT) FROM containers
        LEFT JOIN files ON files.container_seq = containers.seq AND files.deleted_at IS NULL
        WHERE containers.deleted_at IS NULL
        GROUP BY containers.seq HAVING containers.bytes != CAST(coalesce(sum(files.bytes), 0) AS BIGINT)
    """,
    SumKind.TENANT_BYTES: f"""
        {_WITH}, actual (tenant, bytes) AS (SELECT tenant, CAST(sum(bytes) AS BIGINT) FROM refs GROUP BY tenant)
        SELECT tenants.tenant, tenants.bytes, coalesce(actual.bytes, 0)
        FROM tenants LEFT JOIN actual ON actual.tenant = tenants.tenant
        WHERE tenants.bytes != coalesce(actual.bytes, 0)
        UNION ALL SELECT tenant, NULL, bytes FROM actual
        WHERE bytes != 0 AND tenant NOT IN (SELECT tenant FROM tenants)
    """,
    SumKind.REFERENCES: f"""
        {_WITH}, actual (blob, number) AS (SELECT blob, count(*) FROM refs GROUP BY blob)
        SELECT blobs.key, blobs.holders, coalesce(actual.number, 0)
        FROM blobs LEFT JOIN actual ON actual.blob = blobs.key WHERE blobs.holders != coalesce(actual.number, 0)
        UNION ALL SELECT blob, NULL, number FROM actual WHERE blob NOT IN (SELECT key FROM blobs)
    """,
    SumKind.STORED_BYTES: f"""
        WITH actual (tenant, key_name, provider, bytes) AS ({_ACCOUNTS})
        SELECT account.tenant, account.bytes, coalesce(actual.bytes, 0), account.key_name, account.provider
        FROM stored_bytes AS account LEFT JOIN actual ON actual.tenant = account.tenant
            AND actual.key_name = account.key_name AND actual.provider = account.provider
        WHERE account.bytes != coalesce(actual.bytes, 0)
        UNION ALL SELECT tenant, NULL, bytes, key_name, provider FROM actual
        WHERE bytes != 0 AND (tenant, key_name, provider) NOT IN (SELECT tenant, key_name, provider FROM stored_bytes)
    """,
}
_ADD_BLOB = f"""
    {_WITH} INSERT INTO blobs (key, sha256, bytes, holders)
    SELECT blob, min(sha256), min(bytes), count(*) FROM refs WHERE blob = :name GROUP BY blob
    ON CONFLICT (key) DO NOTHING
"""
_ADD_ROW = {
    SumKind.TENANT_BYTES: "INSERT INTO tenants (tenant, bytes) VALUES (:name, 0) ON CONFLICT (tenant) DO NOTHING",
    SumKind.REFERENCES: _ADD_BLOB,
    SumKind.STORED_BYTES: """
        INSERT INTO stored_bytes (tenant, key_name, provider, bytes, counted_until)
        VALUES (:name, :key, :provider, 0, :now) ON CONFLICT (tenant, key_name, provider) DO NOTHING
    """,
}
# A change that is about to be committed has locked the row of the sum, and has files that a query does not see yet.
_LOCK = {
    SumKind.CONTAINER_BYTES: "SELECT seq FROM containers WHERE id = :name AND deleted_at IS NULL",
    SumKind.TENANT_BYTES: "SELECT bytes FROM tenants WHERE tenant = :name",
    SumKind.REFERENCES: "SELECT holders FROM blobs WHERE key = :name",
    SumKind.STORED_BYTES: """
        SELECT bytes FROM stored_bytes WHERE tenant = :name AND key_name = :key AND provider = :provider
    """,
}
_CORRECT = {
    SumKind.CONTAINER_BYTES: """
        UPDATE containers SET bytes = (
            SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM files
            WHERE container_seq = containers.seq AND deleted_at IS NULL
        ) WHERE id = :name AND deleted_at IS NULL
    """,
    SumKind.TENANT_BYTES: f"""
        {_WITH} UPDATE tenants SET bytes = (
            SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM refs WHERE tenant = :name
        ) WHERE tenant = :name
    """,
    SumKind.REFERENCES: f"""
        {_WITH} UPDATE blobs SET holders = (SELECT count(*) FROM refs WHERE blob = :name) WHERE key = :name
    """,
    # Since its last change the account should have had this sum: so its byte-seconds are right, too.
    SumKind.STORED_BYTES: """
        UPDATE stored_bytes SET bytes = (
            SELECT CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM tenant_files
            WHERE tenant = :name AND created_by = :key AND provider = :provider AND deleted_at IS NULL AND blob != ''
        ) WHERE tenant = :name AND key_name = :key AND provider = :provider
    """,
}
_CLEAR_DAMAGE = "UPDATE blobs SET damaged = 0 WHERE key = ?"
_SET_BLOCK_SUMS = "UPDATE blobs SET block_sums = ? WHERE key = ?"


class SqlInventory(SqlBlobReferences):
    """An Inventory in `database`."""

    async def list_blobs(self, *, after: str, limit: int) -> Sequence[BlobRow]:
        """Return a page of blobs; see Inventory."""
        rows = await self._database.all(_LIST_BLOBS, after=after, limit=limit)
        return [
            BlobRow(StoredContent(key, sha256, size, sums), is_damaged=damaged > 0)
            for key, sha256, size, sums, damaged in rows
        ]

    async def files_of(self, blob: str, *, limit: int) -> Sequence[str]:
        """Return ids of files that refer to a blob; see Inventory."""
        return [file_id for (file_id,) in await self._database.all(_FILES_OF, blob=blob, limit=limit)]

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return the blobs without references; see Inventory."""
        without_row = [blob for blob in blobs if await self._database.value(_HAS_ROW, blob) is None]
        if not without_row:
            return []
        used = {blob for (blob,) in await self._database.all(_WITHOUT_ROW)}
        return [blob for blob in without_row if blob not in used]

    async def wrong_sums(self) -> Sequence[WrongSum]:
        """Return all wrong sums; see Inventory."""
        return [WrongSum(kind, *row) for kind, query in _WRONG.items() for row in await self._database.all(query)]

    async def mismatched_files(self, *, limit: int) -> Sequence[str]:
        """Return ids of files that differ from their blobs; see Inventory."""
        return [file_id for (file_id,) in await self._database.all(_MISMATCHED, limit=limit)]

    async def correct_sum(self, wrong: WrongSum) -> None:
        """Correct a sum; see Inventory."""
        values = {"name": wrong.name, "key": wrong.key, "provider": wrong.provider, "now": int(self._database.now())}

        async def correct(transaction: Transaction) -> None:
            if wrong.kind in _ADD_ROW:
                await transaction.run(_ADD_ROW[wrong.kind], **values)
            await transaction.lock_only(_LOCK[wrong.kind], **values)
            await transaction.run(_CORRECT[wrong.kind], **values)

        await self._database.write(correct)

    async def clear_damage(self, blob: str) -> None:
        """Record that a blob is not damaged; see Inventory."""
        await self._database.write(lambda transaction: transaction.run(_CLEAR_DAMAGE, blob))

    async def set_block_sums(self, stored: StoredContent) -> None:
        """Store the checksums of the blocks of a blob; see Inventory."""
        values = (stored.block_sums, stored.blob)
        await self._database.write(lambda transaction: transaction.run(_SET_BLOCK_SUMS, *values))
