"""SqlStore: the ContainerStore on SQLite.

Tables are the business of `schema`, reading and writing at all of
`sql_database`, rows of `sql_rows`, lists of `sql_pages`, changes of `sql_changes`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from berth.adapters.sql.blob_references import SHARED, note_damage
from berth.adapters.sql.container_writes import (
    copy_file,
    delete_container,
    delete_file,
    insert_container,
    insert_file,
    purge_containers,
    refresh_container,
    touch_container,
)
from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.errors import bad_cursor
from berth.adapters.sql.pages import SLICE, containers_query, cut, files_query, start_of_list
from berth.adapters.sql.rows import CONTAINER_COLUMNS, Row, container_record, container_status, file_record
from berth.core.lifetime import has_status
from berth.core.ports.container_store import UNLIMITED, ContainerFileRecord, ContainerRecord, ContainerSummary, Quotas
from berth.core.ports.pages import Page, Pagination
from berth.core.providers import PROVIDERS, provider_name
from berth.core.validation import container_file_not_found, container_not_found
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import Provider

_GET_CONTAINER = f"SELECT {CONTAINER_COLUMNS} FROM containers WHERE id = ? AND tenant = ? AND deleted_at IS NULL"  # noqa: S608 - constants
# FILE_COLUMNS, and Home behind them: one query for a file, its container and their owner.
_GET_FILE = """
    SELECT files.id, files.path, files.bytes, files.created_at, files.source, files.filename, files.content_type,
        files.sha256, files.blob, containers.provider, containers.last_active_at, containers.expires_minutes
    FROM files JOIN containers ON containers.seq = files.container_seq
    WHERE files.id = ? AND containers.id = ? AND containers.tenant = ? AND files.deleted_at IS NULL
"""
_GET_PROVIDER = "SELECT provider FROM containers WHERE id = ? AND tenant = ? AND deleted_at IS NULL"
_CONTAINER_SEQ = "SELECT seq FROM containers WHERE id = ? AND tenant = ? AND deleted_at IS NULL"
_CONTAINER_CURSOR = "SELECT seq FROM containers WHERE id = ? AND tenant = ?"
_FILE_CURSOR = "SELECT seq FROM files WHERE id = ? AND container_seq = ?"


class SqlStore:
    """A ContainerStore in `database`; `now` gives seconds since 1970.

    A write whose caller is cancelled happens whole or not at all.
    """

    def __init__(self, database: SqlDatabase, *, now: Callable[[], float] = time.time) -> None:
        self._database = database
        self._now = now
        self._scanning = asyncio.Lock()

    async def add_container(
        self,
        record: ContainerRecord,
        *,
        domain_secrets: Sequence[DomainSecret] = (),
        copies: Sequence[ContainerFileRecord] = (),
        quotas: Quotas = UNLIMITED,
    ) -> None:
        """Add a container; see ContainerStore."""
        now = int(self._now())
        await self._database.write(
            lambda connection: insert_container(
                connection, record, secrets=domain_secrets, copies=copies, quotas=quotas, now=now
            )
        )

    async def get_provider(self, tenant: str, container_id: str) -> Provider:
        """Return whose a container is; see ContainerStore."""
        row = self._database.one(_GET_PROVIDER, container_id, tenant)
        if row is None:
            raise container_not_found(container_id)
        return PROVIDERS[row[0]]

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Take over what a provider said of a container; see ContainerStore."""
        await self._database.write(lambda connection: refresh_container(connection, tenant, container=container))

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Have a container be active now; see ContainerStore."""
        now = int(self._now())
        await self._database.write(lambda connection: touch_container(connection, tenant, container_id, now=now))

    async def get_container(self, tenant: str, container_id: str) -> ContainerRecord:
        """Return a container; see ContainerStore."""
        row = self._database.one(_GET_CONTAINER, container_id, tenant)
        if row is None:
            raise container_not_found(container_id)
        return container_record(row, tenant)

    async def list_containers(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        name: str | None = None,
        status: ContainerStatus | None = None,
    ) -> Page[ContainerRecord]:
        """Return a page of containers; see ContainerStore.

        A status is the clock's to tell, and no index leads to it: rows are read in
        slices until there are enough, for one caller at a time, and other calls run
        in between.
        """
        seq = self._container_cursor(tenant, pagination)
        names = None if providers is None else sorted(map(provider_name, providers))
        if names == []:
            return Page([], has_more=False)
        count = None if names is None else len(names)
        query = containers_query(providers=count, by_name=name is not None, descending=pagination.descending)
        values: dict[str, object] = {f"provider{i}": provider for i, provider in enumerate(names or ())}
        values |= {"tenant": tenant, "name": name}
        if status is None:
            rows: Sequence[Row] = self._database.all(query, {**values, "seq": seq, "limit": pagination.limit + 1})
        else:
            async with self._scanning:
                rows = await self._scanned(query, values, seq, status=status, enough=pagination.limit + 1)
        page, has_more = cut(rows, pagination.limit)
        return Page([container_record(row, tenant) for row in page], has_more)

    async def _scanned(
        self, query: str, values: Mapping[str, object], seq: int, *, status: ContainerStatus, enough: int
    ) -> list[Row]:
        """Return the first rows that have a status, `enough` of them if there are so many."""
        rows: list[Row] = []
        while True:
            found = self._database.all(query, {**values, "seq": seq, "limit": SLICE})
            now = int(self._now())
            rows += [row for row in found if has_status(container_status(row, now), status)]
            if len(found) < SLICE or len(rows) >= enough:
                return rows
            seq = found[-1][-1]
            await asyncio.sleep(0)  # all other calls have their turn

    async def delete_container(self, tenant: str, container_id: str) -> Sequence[str]:
        """Delete a container; see ContainerStore."""
        deleted_at = int(self._now())
        return await self._database.write(
            lambda connection: delete_container(connection, tenant, container_id=container_id, deleted_at=deleted_at)
        )

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete containers that expired long ago; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: purge_containers(
                connection, expired_before=now - retention_seconds, limit=limit, deleted_at=now
            )
        )

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: insert_file(connection, tenant, record=record, quotas=quotas, now=now)
        )

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file whose bytes another file has; see ContainerStore."""
        now = int(self._now())
        await self._database.write(
            lambda connection: copy_file(connection, tenant, record=record, quotas=quotas, now=now)
        )

    async def get_file(
        self, tenant: str, container_id: str, file_id: str
    ) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return a file and its container; see ContainerStore."""
        row = self._database.one(_GET_FILE, file_id, container_id, tenant)
        if row is None:
            raise container_file_not_found(container_id, file_id)
        return ContainerSummary(PROVIDERS[row[9]], row[10], row[11]), file_record(row, container_id)

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of files; see ContainerStore."""
        container = self._database.one(_CONTAINER_SEQ, container_id, tenant)
        if container is None:
            return Page([], has_more=False)
        seq = self._file_cursor(container[0], pagination)
        query = files_query(descending=pagination.descending)
        rows = self._database.all(query, {"container_seq": container[0], "seq": seq, "limit": pagination.limit + 1})
        page, has_more = cut(rows, pagination.limit)
        return Page([file_record(row, container_id) for row in page], has_more)

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete a file; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: delete_file(connection, tenant, container_id=container_id, file_id=file_id, now=now)
        )

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return what a new upload would share; see BlobReferences."""
        row = self._database.one(SHARED, sha256, size)
        return row[0] if row else None

    async def note_damage(self, blob: str) -> int:
        """Note that a blob is damaged; see BlobReferences."""
        return await self._database.write(lambda connection: note_damage(connection, blob))

    def _container_cursor(self, tenant: str, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        row = self._database.one(_CONTAINER_CURSOR, pagination.after, tenant)
        if row is None:
            raise bad_cursor("container", pagination.after)
        return int(row[0])

    def _file_cursor(self, container_seq: int, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        row = self._database.one(_FILE_CURSOR, pagination.after, container_seq)
        if row is None:
            raise bad_cursor("file", pagination.after)
        return int(row[0])
