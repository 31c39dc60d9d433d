"""SqlFiles: the FileStore on SQLite.

It shares the database of the containers, so that files are copied into them in one transaction.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence

from berth.adapters.sql.blob_references import SqlBlobReferences, charge, reference_new, refund, release_blobs
from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.errors import bad_cursor
from berth.adapters.sql.pages import SLICE, start_of_list, tenant_files_query
from berth.adapters.sql.rows import TENANT_FILE_COLUMNS, Row, fetch_one, tenant_file_record, tenant_file_values
from berth.core.errors import StorageError
from berth.core.ports.container_store import ID_TAKEN, Quotas
from berth.core.ports.file_store import FileRecord
from berth.core.ports.pages import Page, Pagination
from berth.core.providers import PROVIDERS, provider_name
from berth.core.validation import file_not_found, shown
from berth.v1.provider_pb2 import Provider

_LIVING = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > ?)"
_PLACEHOLDERS = ", ".join("?" * (TENANT_FILE_COLUMNS.count(",") + 3))  # including tenant and attempt
_INSERT = f"INSERT INTO tenant_files ({TENANT_FILE_COLUMNS}, tenant, attempt) VALUES ({_PLACEHOLDERS})"  # noqa: S608 - constants
_GET = f"SELECT {TENANT_FILE_COLUMNS}, seq FROM tenant_files WHERE id = ? AND tenant = ? AND {_LIVING}"  # noqa: S608 - constants
_GET_PROVIDER = f"SELECT provider FROM tenant_files WHERE id = ? AND tenant = ? AND {_LIVING}"  # noqa: S608 - constants
_IS_FOREIGN = "SELECT 1 FROM tenant_files WHERE id = ? AND tenant != ?"
_CURSOR = "SELECT seq FROM tenant_files WHERE id = ? AND tenant = ?"
_FIND = f"SELECT seq, tenant, bytes, blob FROM tenant_files WHERE id = ? AND tenant = ? AND {_LIVING}"  # noqa: S608 - constants
_EXPIRED = """
    SELECT seq, tenant, bytes, blob FROM tenant_files
    WHERE deleted_at IS NULL AND expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?
"""
_BLOB_EXISTS = "SELECT 1 FROM blobs WHERE key = ?"
_DELETE = "UPDATE tenant_files SET deleted_at = ? WHERE seq = ?"


class SqlFiles(SqlBlobReferences):
    """A FileStore in `database`; `now` gives seconds since 1970."""

    def __init__(self, database: SqlDatabase, *, now: Callable[[], float] = time.time) -> None:
        super().__init__(database)
        self._now = now

    async def add(self, record: FileRecord, *, quotas: Quotas) -> str:
        """Add a file; see FileStore."""
        return await self._database.write(lambda connection: _insert(connection, record, quotas))

    async def get_provider(self, tenant: str, file_id: str) -> Provider:
        """Return the provider of a file; see FileStore."""
        provider = self._database.value(_GET_PROVIDER, file_id, tenant, int(self._now()))
        if provider is None:
            raise file_not_found(file_id)
        return PROVIDERS[provider]

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        """Return a file; see FileStore."""
        row = self._database.one(_GET, file_id, tenant, int(self._now()))
        if row is None:
            raise file_not_found(file_id)
        return tenant_file_record(row, tenant)

    async def is_foreign(self, tenant: str, file_id: str) -> bool:
        """Return whether a file belongs to another tenant; see FileStore."""
        return self._database.value(_IS_FOREIGN, file_id, tenant) is not None

    async def list(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        purpose: str | None = None,
    ) -> Page[FileRecord]:
        """Return a page of files; see FileStore."""
        seq = self._cursor(tenant, pagination)
        names = None if providers is None else sorted(map(provider_name, providers))
        if names == []:
            return Page([], has_more=False)
        count = None if names is None else len(names)
        query = tenant_files_query(providers=count, by_purpose=purpose is not None, descending=pagination.descending)
        values: dict[str, object] = {f"provider{i}": provider for i, provider in enumerate(names or ())}
        values |= {"tenant": tenant, "purpose": purpose, "now": int(self._now())}
        records: list[FileRecord] = []
        while (missing := pagination.limit + 1 - len(records)) > 0:
            if records:
                await asyncio.sleep(0)  # let other calls run
            size = min(missing, SLICE)
            rows = self._database.all(query, {**values, "seq": seq, "limit": size})
            records += [tenant_file_record(row, tenant) for row in rows]
            if len(rows) < size:
                break
            *_, seq = rows[-1]
        return Page(records[: pagination.limit], len(records) > pagination.limit)

    async def delete(self, tenant: str, file_id: str) -> Sequence[str]:
        """Delete a file; see FileStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: _delete(connection, tenant, file_id=file_id, now=now), frees_space=True
        )

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return the blobs that no file refers to; see FileStore."""
        return [blob for blob in blobs if self._database.value(_BLOB_EXISTS, blob) is None]

    async def purge(self, *, limit: int) -> tuple[int, Sequence[str]]:
        """Delete expired files; see FileStore."""
        now = int(self._now())
        return await self._database.write(lambda connection: _purge(connection, now=now, limit=limit), frees_space=True)

    def _cursor(self, tenant: str, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        seq = self._database.value(_CURSOR, pagination.after, tenant)
        if seq is None:
            raise bad_cursor("file", pagination.after)
        return int(seq)


def _insert(connection: sqlite3.Connection, record: FileRecord, quotas: Quotas) -> str:
    """Add a file. The content of a passthrough file is at the provider, so it does not count towards the quota."""
    blob = record.blob
    if not record.key:
        charge(connection, record.tenant, record.file.bytes, maximum=quotas.tenant_bytes)
        blob = reference_new(connection, record.stored)
    try:
        connection.execute(_INSERT, tenant_file_values(record, blob))
    except sqlite3.IntegrityError as error:
        message = f"A file with the id '{shown(record.file.id)}' is known already."
        raise StorageError(message, code=ID_TAKEN) from error
    return blob


def _delete(connection: sqlite3.Connection, tenant: str, *, file_id: str, now: int) -> list[str]:
    row = fetch_one(connection, _FIND, file_id, tenant, now)
    if row is None:
        raise file_not_found(file_id)
    return _remove(connection, [row], now=now)


def _purge(connection: sqlite3.Connection, *, now: int, limit: int) -> tuple[int, list[str]]:
    rows = connection.execute(_EXPIRED, (now, limit)).fetchall()
    return len(rows), _remove(connection, rows, now=now)


def _remove(connection: sqlite3.Connection, rows: Sequence[Row], *, now: int) -> list[str]:
    """Mark the files in rows of _FIND or _EXPIRED as deleted, and return the blobs that are now unreferenced."""
    unreferenced: list[str] = []
    for seq, tenant, size, blob in rows:
        connection.execute(_DELETE, (now, seq))
        if blob:
            refund(connection, tenant, size)
            unreferenced += release_blobs(connection, [blob])
    return unreferenced
