"""SqlStore: the ContainerStore in a database.

The tables are defined in `schema`, the port to the database in `database`, rows in `rows`,
the queries of lists in `pages`, and changes in `container_writes`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from berth.adapters.sql.blob_references import SqlBlobReferences
from berth.adapters.sql.container_writes import (
    A_LEFTOVER,
    copy_file,
    delete_container,
    delete_file,
    delete_leftovers,
    insert_container,
    insert_file,
    purge_containers,
    refresh_container,
    touch_container,
)
from berth.adapters.sql.database import Database, Row
from berth.adapters.sql.errors import bad_cursor
from berth.adapters.sql.exec.changes import replace_file
from berth.adapters.sql.pages import SLICE, containers_query, cut, files_query, start_of_list
from berth.adapters.sql.rows import (
    CONTAINER_COLUMNS,
    CONTAINER_READ,
    container_record,
    container_status,
    container_values,
    file_record,
)
from berth.adapters.sql.secret_values import SECRETS, domain_secret, secret_values
from berth.adapters.sql.upkeep.adoption import adopt, foreign_rows, forget_expired
from berth.core.lifetime import has_status
from berth.core.ports.cipher import Cipher
from berth.core.ports.container_store import (
    MAX_ADOPTED,
    UNLIMITED,
    ContainerFileRecord,
    ContainerRecord,
    ContainerSummary,
    ForeignRow,
    Quotas,
    StoredChanges,
)
from berth.core.ports.pages import Page, Pagination
from berth.core.providers import PROVIDERS, provider_name
from berth.core.validation import container_file_not_found, container_not_found
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

# `+tenant` keeps SQLite from searching the rows of a tenant: an id has one row, or a few at most.
_GET_CONTAINER = f"SELECT {CONTAINER_READ} FROM containers WHERE id = ? AND +tenant = ? AND deleted_at IS NULL"  # noqa: S608 - constants
# FILE_COLUMNS and ContainerSummary in one query, which also checks the owner.
_GET_FILE = """
    SELECT files.id, files.path, files.bytes, files.created_at, files.source, files.filename, files.content_type,
        files.sha256, files.blob, files.modified_at, containers.provider, containers.last_active_at,
        containers.expires_minutes
    FROM files JOIN containers ON containers.seq = files.container_seq
    WHERE files.id = ? AND containers.id = ? AND containers.tenant = ?
    AND files.deleted_at IS NULL AND containers.deleted_at IS NULL
"""
_GET_CONTAINER_AT = f"{_GET_CONTAINER} AND provider = ?"
_FOREIGN = """
    SELECT provider, key_name, tenant FROM containers
    WHERE id = ? AND tenant != ? AND deleted_at IS NULL AND adopted_at IS NULL
"""
_GET_PROVIDER = """
    SELECT provider FROM containers
    WHERE id = ? AND +tenant = ? AND provider = coalesce(?, provider) AND deleted_at IS NULL
"""
_CONTAINER_SEQ = "SELECT seq FROM containers WHERE id = ? AND +tenant = ? AND deleted_at IS NULL"
_CONTAINER_CURSOR = "SELECT seq FROM containers WHERE id = ? AND +tenant = ?"
_FILE_CURSOR = "SELECT seq FROM files WHERE id = ? AND container_seq = ?"


class SqlStore(SqlBlobReferences):
    """A ContainerStore in `database`; `now` gives seconds since 1970, by default those of the database.

    If the caller is cancelled, a write is done completely or not at all. The values of secrets are
    encrypted with `cipher`, and stored as they are without one.
    """

    def __init__(
        self, database: Database, *, now: Callable[[], float] | None = None, cipher: Cipher | None = None
    ) -> None:
        super().__init__(database)
        self._now = now or database.now
        self._cipher = cipher
        self._scanning = asyncio.Lock()

    async def add_container(
        self,
        record: ContainerRecord,
        *,
        domain_secrets: Sequence[DomainSecret] = (),
        copies: Sequence[ContainerFileRecord] = (),
        quotas: Quotas = UNLIMITED,
        is_own: bool = False,
    ) -> None:
        """Add a container; see ContainerStore."""
        now = int(self._now())
        secrets = [secret_values(secret, record.container.id, self._cipher) for secret in domain_secrets]
        await self._database.write(
            lambda transaction: insert_container(
                transaction, record, secrets=secrets, copies=copies, quotas=quotas, now=now, is_own=is_own
            )
        )

    async def adopt(self, record: ContainerRecord, *, keep: int = MAX_ADOPTED) -> bool:
        """Add a container that Berth did not create; see ContainerStore."""
        values = container_values(record)
        return await self._database.write(
            lambda transaction: adopt(transaction, "containers", CONTAINER_COLUMNS, values, keep=keep)
        )

    async def forget(self, *, retention_seconds: int, limit: int, adopted: bool) -> int:
        """Remove containers at providers that expired long ago; see ContainerStore."""
        before = int(self._now()) - retention_seconds
        return await self._database.write(
            lambda transaction: forget_expired(transaction, expired_before=before, limit=limit, adopted=adopted),
            frees_space=True,
        )

    async def foreign(self, tenant: str, container_id: str) -> Sequence[ForeignRow]:
        """Return where other tenants have a container with this id; see ContainerStore."""
        return await foreign_rows(self._database, _FOREIGN, container_id, tenant)

    async def get_provider(self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Provider:
        """Return the provider of a container; see ContainerStore."""
        named = provider_name(provider) if provider else None
        found = await self._database.value(_GET_PROVIDER, container_id, tenant, named)
        if found is None:
            raise container_not_found(container_id)
        return PROVIDERS[found]

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Store the status and last activity of a container; see ContainerStore."""
        now = int(self._now())
        await self._database.write(
            lambda transaction: refresh_container(transaction, tenant, container=container, now=now)
        )

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Set the last activity of a container to now; see ContainerStore."""
        now = int(self._now())
        await self._database.write(lambda transaction: touch_container(transaction, tenant, container_id, now=now))

    async def get_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> ContainerRecord:
        """Return a container; see ContainerStore."""
        if provider:
            row = await self._database.one(_GET_CONTAINER_AT, container_id, tenant, provider_name(provider))
        else:
            row = await self._database.one(_GET_CONTAINER, container_id, tenant)
        if row is None:
            raise container_not_found(container_id)
        return container_record(row, tenant)

    async def get_domain_secrets(self, tenant: str, container_id: str) -> Sequence[DomainSecret]:
        """Return the secrets of a container; see ContainerStore."""
        seq = await self._database.value(_CONTAINER_SEQ, container_id, tenant)
        if seq is None:
            raise container_not_found(container_id)
        rows = await self._database.all(SECRETS, container_seq=seq)
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
        seq = await self._container_cursor(tenant, pagination)
        names = None if providers is None else sorted(map(provider_name, providers))
        if names == []:
            return Page([], has_more=False)
        count = None if names is None else len(names)
        query = containers_query(
            providers=count,
            by_name=name is not None,
            descending=pagination.descending,
            sorts_each_arm=self._database.sorts_each_arm,
        )
        values: dict[str, object] = {f"provider{i}": provider for i, provider in enumerate(names or ())}
        values |= {"tenant": tenant, "name": name}
        if status is None:
            rows: Sequence[Row] = await self._database.all(query, **values, seq=seq, limit=pagination.limit + 1)
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
            found = await self._database.all(query, **values, seq=seq, limit=SLICE)
            now = int(self._now())
            rows += [row for row in found if has_status(container_status(row, now), status)]
            if len(found) < SLICE or len(rows) >= enough:
                return rows
            *_, seq = found[-1]
            await asyncio.sleep(0)  # let other calls run

    async def delete_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> Sequence[str]:
        """Delete a container; see ContainerStore."""
        deleted_at, name = int(self._now()), provider_name(provider) if provider else None
        return await self._database.write(
            lambda transaction: delete_container(
                transaction, tenant, container_id=container_id, deleted_at=deleted_at, provider=name
            ),
            frees_space=True,
        )

    async def delete_leftovers(self) -> Sequence[str] | None:
        """Delete files that are left of deleted containers; see ContainerStore."""
        if await self._database.value(A_LEFTOVER) is None:
            return None
        deleted_at = int(self._now())
        return await self._database.write(
            lambda transaction: delete_leftovers(transaction, deleted_at=deleted_at), frees_space=True
        )

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete containers that expired more than `retention_seconds` ago; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: purge_containers(
                transaction, expired_before=now - retention_seconds, limit=limit, deleted_at=now
            ),
            frees_space=True,
        )

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: insert_file(transaction, tenant, record=record, quotas=quotas, now=now)
        )

    async def replace_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> StoredChanges:
        """Write a file that may be there already; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: replace_file(transaction, tenant, record=record, quotas=quotas, now=now)
        )

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file with the content of another file; see ContainerStore."""
        now = int(self._now())
        await self._database.write(
            lambda transaction: copy_file(transaction, tenant, record=record, quotas=quotas, now=now)
        )

    async def get_file(
        self, tenant: str, container_id: str, file_id: str
    ) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return a file and its container; see ContainerStore."""
        row = await self._database.one(_GET_FILE, file_id, container_id, tenant)
        if row is None:
            raise container_file_not_found(container_id, file_id)
        *file, provider, last_active_at, expires_minutes = row
        return ContainerSummary(PROVIDERS[provider], last_active_at, expires_minutes), file_record(file, container_id)

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of files; see ContainerStore."""
        container_seq = await self._database.value(_CONTAINER_SEQ, container_id, tenant)
        if container_seq is None:
            return Page([], has_more=False)
        seq = await self._file_cursor(container_seq, pagination)
        query = files_query(descending=pagination.descending)
        rows = await self._database.all(query, container_seq=container_seq, seq=seq, limit=pagination.limit + 1)
        page, has_more = cut(rows, pagination.limit)
        return Page([file_record(row, container_id) for row in page], has_more)

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete a file; see ContainerStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: delete_file(transaction, tenant, container_id=container_id, file_id=file_id, now=now),
            frees_space=True,
        )

    async def _container_cursor(self, tenant: str, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        seq = await self._database.value(_CONTAINER_CURSOR, pagination.after, tenant)
        if seq is None:
            raise bad_cursor("container", pagination.after)
        return int(seq)

    async def _file_cursor(self, container_seq: int, pagination: Pagination) -> int:
        if pagination.after is None:
            return start_of_list(pagination)
        seq = await self._database.value(_FILE_CURSOR, pagination.after, container_seq)
        if seq is None:
            raise bad_cursor("file", pagination.after)
        return int(seq)
