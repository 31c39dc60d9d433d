"""Fakes of the ports: ordinary classes in memory that pass the contracts of `tests/contracts`.

They raise what the adapters raise; how the adapters fail when a disk fails is
for tests of the adapters.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import accumulate, count
from typing import Any, Generic, NoReturn, TypeVar

from berth.core.errors import ContainerExpiredError, InvalidRequestError, NotFoundError, StorageError
from berth.core.lifetime import current_status, expires_at, has_status
from berth.core.ports.blob_store import BlobState
from berth.core.ports.container_store import (
    ID_TAKEN,
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
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

T = TypeVar("T")


class FixedClock:
    """A clock that stands still until it is told to advance; calling it gives seconds since 1970."""

    def __init__(self, now: int = 1_700_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        """Move the clock forward."""
        self.now += seconds


class SequentialIds:
    """Makes ids one after the other: "cntr_000…1", "cntr_000…2"; every prefix and length counts for itself."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], Iterator[int]] = {}

    def __call__(self, prefix: str, digits: int) -> str:
        number = next(self._counts.setdefault((prefix, digits), count(1)))
        return f"{prefix}{number:0{digits}x}"


@dataclass
class Row(Generic[T]):
    record: T
    deleted: bool = False


class MemoryStore:
    """A ContainerStore in dictionaries, which keep the order of creation; deleted rows stay, as marks for cursors."""

    def __init__(self, now: Callable[[], int] | None = None) -> None:
        self._now = now or FixedClock()
        self._containers: dict[tuple[str, str], dict[Provider, Row[ContainerRecord]]] = {}
        self._created = set[str]()
        self._files: dict[str, Row[ContainerFileRecord]] = {}
        self._damaged = Counter[str]()
        self.domain_secrets: dict[str, Sequence[DomainSecret]] = {}

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
        if record.provider in self._rows_of(record) or (not is_own and record.container.id in self._created):
            raise StorageError("The id is known already.", code=ID_TAKEN)
        sizes = list(accumulate(copy.file.bytes for copy in copies))
        for index, size in enumerate(sizes):
            _check_room(size, size + self._held(record.tenant), quotas, param=f"file_ids[{index}]")
        whole = [replace(copy, blob=self._blob_of(copy)) for copy in copies]
        self._files.update({copy.file.id: Row(deepcopy(copy)) for copy in whole})
        self._rows_of(record)[record.provider] = Row(deepcopy(record))
        self._created.add(record.container.id)
        self.domain_secrets[record.container.id] = deepcopy(list(domain_secrets))

    async def adopt(self, record: ContainerRecord, *, keep: int = MAX_ADOPTED) -> bool:
        """Add a container that Berth did not create; see ContainerStore."""
        row = self._rows_of(record).get(record.provider)
        if row is not None and not row.deleted and row.record.adopted_at is None:
            return False
        self._rows_of(record)[record.provider] = Row(deepcopy(record))
        forget_oldest(self._all(), record.tenant, keep)
        return row is None or row.deleted

    async def forget(self, *, retention_seconds: int, limit: int, adopted: bool) -> int:
        """Remove containers at providers that expired long ago; see ContainerStore."""
        until = self._now() - retention_seconds
        rows = [row for row in self._all() if not row.deleted and row.record.key]
        gone = [row for row in rows if _is_forgotten(row.record, until=until, adopted=adopted)][:limit]
        for row in gone:
            row.deleted = True
        return len(gone)

    async def foreign(self, tenant: str, container_id: str) -> Sequence[ForeignRow]:
        """Return where other tenants have a container; see ContainerStore."""
        records = [row.record for row in self._all() if row.record.container.id == container_id and not row.deleted]
        others = [record for record in records if record.tenant != tenant and record.adopted_at is None]
        return [ForeignRow(record.provider, record.key, record.tenant) for record in others]

    def _rows_of(self, record: ContainerRecord) -> dict[Provider, Row[ContainerRecord]]:
        return self._containers.setdefault((record.tenant, record.container.id), {})

    def _all(self) -> list[Row[ContainerRecord]]:
        return [row for rows in self._containers.values() for row in rows.values()]

    async def get_provider(self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Provider:
        """Return whose a container is; see ContainerStore."""
        return self._container(tenant, container_id, provider).record.provider

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Take over what a provider said of a container; see ContainerStore."""
        with suppress(NotFoundError):
            kept = self._container(tenant, container.id, container.provider).record.container
            kept.ClearField("status")
            kept.MergeFrom(Container(status=container.status if container.HasField("status") else None))
            kept.last_active_at = container.last_active_at

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Have a container be active now; see ContainerStore."""
        with suppress(NotFoundError):
            record = self._container(tenant, container_id).record
            if self._now() <= expires_at(record.container):
                self._touch(record)

    def _touch(self, record: ContainerRecord) -> None:
        record.container.last_active_at = max(record.container.last_active_at, self._now())

    async def get_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> ContainerRecord:
        """Return a container; see ContainerStore."""
        return self._with_bytes(deepcopy(self._container(tenant, container_id, provider).record))

    async def get_domain_secrets(self, tenant: str, container_id: str) -> Sequence[DomainSecret]:
        """Return the secrets of a container; see ContainerStore."""
        self._container(tenant, container_id)
        return deepcopy(self.domain_secrets[container_id])

    async def list_containers(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        name: str | None = None,
        status: ContainerStatus | None = None,
    ) -> Page[ContainerRecord]:
        """Return a page of containers; see ContainerStore."""

        def current(record: ContainerRecord) -> ContainerStatus:
            container = record.container
            return current_status(
                container.status,
                is_hosted=not record.key,
                last_active_at=container.last_active_at,
                minutes=container.expires_after.minutes,
                now=self._now(),
            )

        def matches(record: ContainerRecord) -> bool:
            in_provider = providers is None or record.provider in providers
            in_provider = in_provider and (record.adopted_at is None or record.container.created_at > 0)
            in_status = status is None or has_status(current(record), status)
            return in_provider and in_status and name in (None, record.container.name)

        rows = {row.record.container.id: row for row in self._all() if row.record.tenant == tenant}
        data, has_more = page_of(rows, pagination, resource="container", matches=matches)
        return Page([self._with_bytes(record) for record in data], has_more)

    def _with_bytes(self, record: ContainerRecord) -> ContainerRecord:
        files = [row.record.file for row in self._files_of(record.container.id).values() if not row.deleted]
        return replace(record, bytes=sum(file.bytes for file in files))

    async def delete_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> Sequence[str]:
        """Delete a container; see ContainerStore."""
        self._container(tenant, container_id, provider).deleted = True
        self.domain_secrets.pop(container_id, None)
        files = [row for row in self._files_of(container_id).values() if not row.deleted]
        for row in files:
            row.deleted = True
        return [blob for blob in dict.fromkeys(row.record.blob for row in files) if blob not in self._blobs()]

    async def delete_leftovers(self) -> Sequence[str] | None:
        """Return that there are none; see ContainerStore."""
        return None

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete containers that expired long ago; see ContainerStore."""
        hosted = [row.record for row in self._all() if not row.deleted and not row.record.key]
        until = self._now() - retention_seconds
        gone = [record for record in hosted if expires_at(record.container) < until][:limit]
        unreferenced = [await self.delete_container(record.tenant, record.container.id) for record in gone]
        return len(gone), [blob for blobs in unreferenced for blob in blobs]

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file; see ContainerStore."""
        same = [row for row in self._files.values() if not row.deleted and row.record.stored[1:3] == record.stored[1:3]]
        good = [row.record.blob for row in same if not self._damaged[row.record.blob]]
        blob = good[0] if good else record.blob
        self._add_file(tenant, replace(record, blob=blob), quotas=quotas, param="file")
        for row in same:
            row.record = replace(row.record, blob=blob)
        return blob

    async def replace_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> StoredChanges:
        """Write a file that may be there already; see ContainerStore."""
        rows = self._files_of(record.file.container_id).values()
        old = [row for row in rows if not row.deleted and row.record.file.path == record.file.path]
        for row in old:
            row.deleted = True
        before = [row.record.blob for row in old]
        try:
            await self.add_file(tenant, record, quotas=quotas)
        finally:
            for row in old:
                row.deleted = False
        for row in old:
            row.record = _with_content(row.record, self._files.pop(record.file.id).record)
        unreferenced = {record.blob, *before} - self._blobs()
        return StoredChanges([deepcopy(row.record.file) for row in old] or [record.file], sorted(unreferenced))

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file whose bytes another file has; see ContainerStore."""
        self._add_file(tenant, replace(record, blob=self._blob_of(record)), quotas=quotas, param="file_id")

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return what a new upload would share; see BlobReferences."""
        rows = [row for row in self._files.values() if not row.deleted]
        return next((row.record.blob for row in rows if row.record.stored[1:3] == (sha256, size)), None)

    async def blob_state(self, blob: str) -> BlobState | None:
        """Return what is known about a blob; see BlobReferences."""
        sums = [row.record.block_sums for row in self._files.values() if not row.deleted and row.record.blob == blob]
        known = next((each for each in sums if each is not None), None)
        return BlobState(self._damaged[blob] > 0, known) if sums else None

    async def note_damage(self, blob: str) -> int:
        """Note that a blob is damaged; see BlobReferences."""
        if blob not in self._blobs():
            return 0
        self._damaged[blob] += 1
        return self._damaged[blob]

    def _add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas, param: str) -> None:
        container = self._container(tenant, record.file.container_id).record
        if self._now() > expires_at(container.container):
            raise ContainerExpiredError
        rows = self._files_of(record.file.container_id).values()
        files = [row.record.file for row in rows if not row.deleted]
        if record.file.path in [file.path for file in files]:
            raise InvalidRequestError("The path is taken.", param="file_path", code="path_already_exists")
        held, size = sum(file.bytes for file in files), record.file.bytes
        _check_room(held + size, self._held(tenant) + size, quotas, param=param)
        self._files[record.file.id] = Row(deepcopy(record))
        self._touch(container)

    async def get_file(
        self, tenant: str, container_id: str, file_id: str
    ) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return a file and its container; see ContainerStore."""
        row = self._file(tenant, container_id, file_id=file_id)
        home = self._container(tenant, container_id).record
        idle = home.container.expires_after.minutes
        return ContainerSummary(home.provider, home.container.last_active_at, idle), deepcopy(row.record)

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of files; see ContainerStore."""
        try:
            self._container(tenant, container_id)
        except NotFoundError:
            return Page([], has_more=False)
        return page_of(self._files_of(container_id), pagination, resource="file", matches=lambda _: True)

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete a file; see ContainerStore."""
        row = self._file(tenant, container_id, file_id=file_id)
        row.deleted = True
        self._touch(self._container(tenant, container_id).record)
        return [] if row.record.blob in self._blobs() else [row.record.blob]

    def _blobs(self) -> set[str]:
        return {row.record.blob for row in self._files.values() if not row.deleted}

    def _blob_of(self, record: ContainerFileRecord) -> str:
        living = [row.record for row in self._files.values() if not row.deleted]
        same = [found.blob for found in living if found.stored[1:3] == record.stored[1:3]]
        if not same:
            raise NotFoundError("The file is gone: it was deleted meanwhile.")
        return same[0]

    def _held(self, tenant: str) -> int:
        living = [row.record.file for row in self._files.values() if not row.deleted]
        return sum(file.bytes for file in living if (tenant, file.container_id) in self._containers)

    def _container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> Row[ContainerRecord]:
        rows = self._containers.get((tenant, container_id), {})
        for at, row in rows.items():
            if provider in (at, PROVIDER_UNSPECIFIED) and not row.deleted:
                return row
        raise NotFoundError(f"Container {shortened(container_id)} not found.")

    def _file(self, tenant: str, container_id: str, *, file_id: str) -> Row[ContainerFileRecord]:
        row = self._files_of(container_id).get(file_id)
        if (tenant, container_id) not in self._containers or row is None or row.deleted:
            message = f"File {shortened(file_id)} not found on container {shortened(container_id)}."
            raise NotFoundError(message)
        return row

    def _files_of(self, container_id: str) -> dict[str, Row[ContainerFileRecord]]:
        return {key: row for key, row in self._files.items() if row.record.file.container_id == container_id}


def forget_oldest(rows: Iterable["Row[Any]"], tenant: str, keep: int) -> None:
    """Delete the adopted rows of a tenant that were added before its last `keep`."""
    mine = [row for row in rows if row.record.tenant == tenant and row.record.adopted_at is not None]
    living = [row for row in mine if not row.deleted]
    for row in sorted(living, key=lambda row: row.record.adopted_at)[: max(0, len(living) - keep)]:
        row.deleted = True


def _is_forgotten(record: ContainerRecord, *, until: int, adopted: bool) -> bool:
    container = record.container
    if (record.adopted_at is not None) is not adopted or expires_at(container) >= until:
        return False
    return adopted or (container.last_active_at > 0 and container.created_at < until)


def _check_room(in_container: int, in_all: int, quotas: Quotas, *, param: str) -> None:
    if in_container > quotas.container_bytes:
        raise InvalidRequestError("The container is full.", param=param, code="container_size_exceeded")
    if in_all > quotas.tenant_bytes:
        message = f"All would hold more than {quotas.tenant_bytes} bytes."
        raise InvalidRequestError(message, param=param, code="tenant_size_exceeded")


def page_of(rows: dict[str, Row[T]], pagination: Pagination, *, resource: str, matches: Callable[[T], bool]) -> Page[T]:
    ids = list(reversed(rows)) if pagination.descending else list(rows)
    if pagination.after is not None:
        if pagination.after not in rows:
            _refuse_cursor(resource, pagination.after)
        ids = ids[ids.index(pagination.after) + 1 :]
    data = [deepcopy(rows[key].record) for key in ids if not rows[key].deleted and matches(rows[key].record)]
    return Page(data[: pagination.limit], len(data) > pagination.limit)


def _with_content(old: ContainerFileRecord, new: ContainerFileRecord) -> ContainerFileRecord:
    file = deepcopy(old.file)
    file.bytes = new.file.bytes
    return replace(new, file=file, filename=old.filename)


def _refuse_cursor(resource: str, after: str) -> NoReturn:
    message = f"Invalid 'after': no {resource} with the id '{shortened(after)}'."
    raise InvalidRequestError(message, param="after", code="invalid_value")


def shortened(text: str) -> str:
    return text if len(text) <= 64 else text[:63] + "…"
