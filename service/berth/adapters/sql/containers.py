"""SqlStore: the ContainerStore on SQLite.

The tables are defined in `schema`, connections in `database`, rows in `rows`,
the queries of lists in `pages`, and changes in `container_writes`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from berth.adapters.sql.blob_references import SqlBlobReferences
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
from berth.adapters.sql.secret_values import SECRETS, domain_secret, secret_values
from berth.core.lifetime import has_status
from berth.core.ports.cipher import Cipher
from berth.core.ports.container_store import UNLIMITED, ContainerFileRecord, ContainerRecord, ContainerSummary, Quotas
from berth.core.ports.pages import Page, Pagination
from berth.core.providers import PROVIDERS, provider_name
from berth.core.validation import container_file_not_found, container_not_found
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import Provider

_GET_CONTAINER = f"SELECT {CONTAINER_COLUMNS}, seq FROM containers WHERE id = ? AND tenant = ? AND deleted_at IS NULL"  # noqa: S608 - constants
# FILE_COLUMNS and ContainerSummary in one query, which also checks the owner.
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


class SqlStore(SqlBlobReferences):
    """A ContainerStore in `database`; `now` gives seconds since 1970.

    If the caller is cancelled, a write is done completely or not at all. The values of secrets are
    encrypted with `cipher`, and stored as they are without one.
    """

    def __init__(
        self, database: SqlDatabase, *, now: Callable[[], float] = time.time, cipher: Cipher | None = None
    ) -> None:
        super().__init__(database)
        self._now = now
        self._cipher = cipher
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
        secrets = [secret_values(secret, record.container.id, self._cipher) for secret in domain_secrets]
        await self._database.write(
            lambda connection: insert_container(
                connection, record, secrets=secrets, copies=copies, quotas=quotas, now=now
            )
        )

    async def get_provider(self, tenant: str, container_id: str) -> Provider:
        """Return the provider of a container; see ContainerStore."""
        provider = self._database.value(_GET_PROVIDER, container_id, tenant)
        if provider is None:
            raise container_not_found(container_id)
        return PROVIDERS[provider]

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Store the status and last activity of a container; see ContainerStore."""
        await self._database.write(lambda connection: refresh_container(connection, tenant, container=container))

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Set the last activity of a container to now; see ContainerStore."""
        now = int(self._now())
        await self._database.write(lambda connection: touch_container(connection, tenant, container_id, now=now))

    async def get_container(self, tenant: str, container_id: str) -> ContainerRecord:
        """Return a container; see ContainerStore."""
        row = self._database.one(_GET_CONTAINER, container_id, tenant)
        if row is None:
            raise container_not_found(container_id)
        return container_record(row, tenant)

    async def get_domain_secrets(self, tenant: str, container_id: str) -> Sequence[DomainSecret]:
        """Return the secrets of a container; see ContainerStore."""
        seq = self._database.value(_CONTAINER_SEQ, container_id, tenant)
        if seq is None:
            raise container_not_found(container_id)
        rows = self._database.all(SECRETS, {"container_seq": seq})
        return [domain_secret(row, container_id, self._cipher) for row in rows]

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

        A status depends on the clock, so no index has it: to filter by it, rows are
        read in slices until enough match. One caller does so at a time, and other
        calls run between the slices.
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
                rows = await self._scan(query, values, seq, status=status, enough=pagination.limit + 1)
        page, has_more = cut(rows, pagination.limit)
        return Page([container_record(row, tenant) for row in page], has_more)

    async def _scan(
        self, query: str, values: Mapping[str, object], seq: int, *, status: ContainerStatus, enough: int
    ) -> list[Row]:
        """Return the first rows that have `status`: at least `enough`, or all."""
        rows: list[Row] = []
        while True:
            found = self._database.all(query, {**values, "seq": seq, "limit": SLICE})
            now = int(self._now())
            rows += [row for row in found if has_status(container_status(row, now), status)]
            if len(found) < SLICE or len(rows) >= enough:
                return rows
            *_, seq = found[-1]
            await asyncio.sleep(0)  # let other calls run

    async def delete_container(self, tenant: str, container_id: str) -> Sequence[str]:
        """Delete a container; see ContainerStore."""
        deleted_at = int(self._now())
        return await self._database.write(
            lambda connection: delete_container(connection, tenant, container_id=container_id, deleted_at=deleted_at),
            frees_space=True,
        )

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete containers that expired more than `retention_seconds` ago; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: purge_containers(
                connection, expired_before=now - retention_seconds, limit=limit, deleted_at=now
            ),
            frees_space=True,
        )

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: insert_file(connection, tenant, record=record, quotas=quotas, now=now)
        )

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file with the content of another file; see ContainerStore."""
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
        *file, provider, last_active_at, expires_minutes = row
        return ContainerSummary(PROVIDERS[provider], last_active_at, expires_minutes), file_record(file, container_id)

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of files; see ContainerStore."""
        container_seq = self._database.value(_CONTAINER_SEQ, container_id, tenant)
        if container_seq is None:
            return Page([], has_more=False)
        seq = self._file_cursor(container_seq, pagination)
        query = files_query(descending=pagination.descending)
        values = {"container_seq": container_seq, "seq": seq, "limit": pagination.limit + 1}
        rows = self._database.all(query, values)
        page, has_more = cut(rows, pagination.limit)
        return Page([file_record(row, container_id) for row in page], has_more)

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete a file; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda connection: delete_file(connection, tenant, container_id=container_id, file_id=file_id, now=now),
            frees_space=True,
        )

    def _container_cursor(self, tenant: str, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        seq = self._database.value(_CONTAINER_CURSOR, pagination.after, tenant)
        if seq is None:
            raise bad_cursor("container", pagination.after)
        return int(seq)

    def _file_cursor(self, container_seq: int, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        seq = self._database.value(_FILE_CURSOR, pagination.after, container_seq)
        if seq is None:
            raise bad_cursor("file", pagination.after)
        return int(seq)
