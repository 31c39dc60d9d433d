"""SqlFiles: the FileStore in a database.

It shares the database of the containers, so that files are copied into them in one transaction.
"""

import asyncio
import json
from collections.abc import Callable, Sequence

from berth.adapters.sql.blob_references import SqlBlobReferences, charge, reference_new, refund, release_blobs
from berth.adapters.sql.database import Database, Row, Transaction
from berth.adapters.sql.errors import ConflictError, bad_cursor
from berth.adapters.sql.pages import SLICE, start_of_list, tenant_files_query
from berth.adapters.sql.rows import (
    TENANT_FILE_COLUMNS,
    tenant_file_record,
    tenant_file_values,
)
from berth.adapters.sql.upkeep.adoption import adopt, foreign_rows
from berth.adapters.sql.usage.counting import Owner, store_bytes
from berth.core.errors import StorageError
from berth.core.ports.container_store import ID_TAKEN, MAX_ADOPTED, ForeignRow, Quotas
from berth.core.ports.file_store import FileRecord
from berth.core.ports.pages import Page, Pagination
from berth.core.providers import PROVIDERS, provider_name
from berth.core.validation import file_not_found, shown
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

_LIVING = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
_PLACEHOLDERS = ", ".join("?" * (TENANT_FILE_COLUMNS.count(",") + 4))  # including tenant, attempt and created_by
_INSERT = f"INSERT INTO tenant_files ({TENANT_FILE_COLUMNS}, tenant, attempt, created_by) VALUES ({_PLACEHOLDERS})"  # noqa: S608 - constants
_GET = f"SELECT {TENANT_FILE_COLUMNS}, seq FROM tenant_files WHERE id = ? AND +tenant = ? AND {_LIVING}"  # noqa: S608 - constants
_IS_TAKEN = "SELECT 1 FROM tenant_files WHERE id = ? AND adopted_at IS NULL"
_GET_AT = f"{_GET} AND provider = ?"
_GET_PROVIDER = f"""
    SELECT provider FROM tenant_files
    WHERE id = ? AND +tenant = ? AND {_LIVING} AND provider = coalesce(?, provider)
"""  # noqa: S608 - constants
_FOREIGN = "SELECT provider, key_name, tenant FROM tenant_files WHERE id = ? AND tenant != ? AND adopted_at IS NULL"
_CURSOR = "SELECT seq FROM tenant_files WHERE id = ? AND +tenant = ?"
_REMOVED = "seq, tenant, bytes, provider, created_by, expires_at"
_FIND = f"""
    SELECT {_REMOVED} FROM tenant_files
    WHERE id = ? AND +tenant = ? AND {_LIVING} AND provider = coalesce(?, provider)
"""  # noqa: S608 - constants
_EXPIRED = f"""
    SELECT {_REMOVED} FROM tenant_files
    WHERE deleted_at IS NULL AND expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?
"""  # noqa: S608 - constants
_BLOB_EXISTS = "SELECT 1 FROM blobs WHERE key = ?"
_DELETE = "UPDATE tenant_files SET deleted_at = ? WHERE seq = ? RETURNING blob"


class SqlFiles(SqlBlobReferences):
    """A FileStore in `database`; `now` gives seconds since 1970, by default those of the database."""

    def __init__(self, database: Database, *, now: Callable[[], float] | None = None) -> None:
        super().__init__(database)
        self._now = now or database.now

    async def add(self, record: FileRecord, *, quotas: Quotas, is_own: bool = False) -> str:
        """Add a file; see FileStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: _insert(transaction, record, quotas=quotas, now=now, is_own=is_own)
        )

    async def adopt(self, record: FileRecord, *, keep: int = MAX_ADOPTED) -> bool:
        """Add a file that Berth did not create; see FileStore."""
        values = tenant_file_values(record, record.blob)[:-1]  # without `created_by`: its usage is not counted
        return await self._database.write(
            lambda transaction: adopt(transaction, "tenant_files", TENANT_FILE_COLUMNS, values, keep=keep)
        )

    async def get_provider(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Provider:
        """Return the provider of a file; see FileStore."""
        named = provider_name(provider) if provider else None
        found = await self._database.value(_GET_PROVIDER, file_id, tenant, int(self._now()), named)
        if found is None:
            raise file_not_found(file_id)
        return PROVIDERS[found]

    async def get(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> FileRecord:
        """Return a file; see FileStore."""
        if provider:
            row = await self._database.one(_GET_AT, file_id, tenant, int(self._now()), provider_name(provider))
        else:
            row = await self._database.one(_GET, file_id, tenant, int(self._now()))
        if row is None:
            raise file_not_found(file_id)
        return tenant_file_record(row, tenant)

    async def is_foreign(self, tenant: str, file_id: str) -> bool:
        """Return whether other tenants have a file with this id; see FileStore."""
        return await self._database.value(_FOREIGN, file_id, tenant) is not None

    async def foreign(self, tenant: str, file_id: str) -> Sequence[ForeignRow]:
        """Return where other tenants have a file with this id; see FileStore."""
        return await foreign_rows(self._database, _FOREIGN, file_id, tenant)

    async def list(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        purpose: str | None = None,
    ) -> Page[FileRecord]:
        """Return a page of files; see FileStore."""
        seq = await self._cursor(tenant, pagination)
        names = None if providers is None else sorted(map(provider_name, providers))
        if names == []:
            return Page([], has_more=False)
        count = None if names is None else len(names)
        query = tenant_files_query(
            providers=count,
            by_purpose=purpose is not None,
            descending=pagination.descending,
            sorts_each_arm=self._database.sorts_each_arm,
        )
        values: dict[str, object] = {f"provider{i}": provider for i, provider in enumerate(names or ())}
        values |= {"tenant": tenant, "purpose": purpose, "now": int(self._now())}
        records: list[FileRecord] = []
        while (missing := pagination.limit + 1 - len(records)) > 0:
            if records:
                await asyncio.sleep(0)  # let other calls run
            size = min(missing, SLICE)
            rows = await self._database.all(query, **values, seq=seq, limit=size)
            records += [tenant_file_record(row, tenant) for row in rows]
            if len(rows) < size:
                break
            *_, seq = rows[-1]
        return Page(records[: pagination.limit], len(records) > pagination.limit)

    async def delete(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Sequence[str]:
        """Delete a file; see FileStore."""
        now, name = int(self._now()), provider_name(provider) if provider else None
        return await self._database.write(
            lambda transaction: _delete(transaction, tenant, file_id=file_id, provider=name, now=now), frees_space=True
        )

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return the blobs that no file refers to; see FileStore."""
        return [blob for blob in blobs if await self._database.value(_BLOB_EXISTS, blob) is None]

    async def purge(self, *, limit: int) -> tuple[int, Sequence[str]]:
        """Delete expired files; see FileStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: _purge(transaction, now=now, limit=limit), frees_space=True
        )

    async def _cursor(self, tenant: str, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        seq = await self._database.value(_CURSOR, pagination.after, tenant)
        if seq is None:
            raise bad_cursor("file", pagination.after)
        return int(seq)


async def _insert(transaction: Transaction, record: FileRecord, *, quotas: Quotas, now: int, is_own: bool) -> str:
    """Add a file. The content of a passthrough file is at the provider, so it does not count towards the quota."""
    blob = record.blob
    await transaction.serialize("tenant_files", record.tenant)
    if not is_own and await transaction.value(_IS_TAKEN, record.file.id):
        raise _id_taken(record)
    if not record.key:
        await charge(transaction, record.tenant, record.file.bytes, maximum=quotas.tenant_bytes)
        blob = await reference_new(transaction, record.stored)
        if record.created_by is not None:
            owner = Owner(record.tenant, record.created_by, provider_name(record.provider))
            await store_bytes(transaction, owner, record.file.bytes, now=now)
    try:
        await transaction.run(_INSERT, *tenant_file_values(record, blob))
    except ConflictError as error:
        raise _id_taken(record) from error
    return blob


def _id_taken(record: FileRecord) -> StorageError:
    return StorageError(f"A file with the id '{shown(record.file.id)}' is known already.", code=ID_TAKEN)


async def _delete(transaction: Transaction, tenant: str, *, file_id: str, provider: str | None, now: int) -> list[str]:
    rows = await transaction.lock(_FIND, file_id, tenant, now, provider)
    if not rows:
        raise file_not_found(file_id)
    return await _remove(transaction, rows[:1], now=now)


async def _purge(transaction: Transaction, *, now: int, limit: int) -> tuple[int, list[str]]:
    rows = await transaction.lock_free(_EXPIRED, now, limit)
    return len(rows), await _remove(transaction, rows, now=now)


async def _remove(transaction: Transaction, rows: Sequence[Row], *, now: int) -> list[str]:
    """Mark the files in rows of _FIND or _EXPIRED as deleted, and return the blobs that are now unreferenced."""
    unreferenced: list[str] = []
    for seq, tenant, size, provider, created_by, expires_at in rows:
        blob = await transaction.value(_DELETE, now, seq)
        if blob:
            await refund(transaction, tenant, size)
            if created_by is not None:
                await store_bytes(transaction, Owner(tenant, created_by, provider), -size, now=now, until=expires_at)
            unreferenced += await release_blobs(transaction, json.dumps([blob]))
    return unreferenced
