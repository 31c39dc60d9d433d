"""Fakes of the ports: ordinary classes in memory that pass the contracts of `tests/contracts`.

They raise what the adapters raise; how the adapters fail when a disk fails is
for tests of the adapters.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import accumulate, count
from typing import Generic, NoReturn, TypeVar

from berth.core.errors import ContainerExpiredError, InvalidRequestError, NotFoundError, StorageError
from berth.core.lifetime import current_status, expires_at, has_status
from berth.core.ports.blob_store import BlobState
from berth.core.ports.container_store import (
    ID_TAKEN,
    UNLIMITED,
    ContainerFileRecord,
    ContainerRecord,
    ContainerSummary,
    Quotas,
)
from berth.core.ports.pages import Page, Pagination
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import Provider

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
        self._containers: dict[str, Row[ContainerRecord]] = {}
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
    ) -> None:
        """Add a container; see ContainerStore."""
        if record.container.id in self._containers:
            raise StorageError("The id is known already.", code=ID_TAKEN)
        sizes = list(accumulate(copy.file.bytes for copy in copies))
        for index, size in enumerate(sizes):
            _check_room(size, size + self._held(record.tenant), quotas, param=f"file_ids[{index}]")
        whole = [replace(copy, blob=self._blob_of(copy)) for copy in copies]
        self._files.update({copy.file.id: Row(deepcopy(copy)) for copy in whole})
        self._containers[record.container.id] = Row(deepcopy(record))
        self.domain_secrets[record.container.id] = deepcopy(list(domain_secrets))

    async def get_provider(self, tenant: str, container_id: str) -> Provider:
        """Return whose a container is; see ContainerStore."""
        return self._container(tenant, container_id).record.provider

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Take over what a provider said of a container; see ContainerStore."""
        with suppress(NotFoundError):
            kept = self._container(tenant, container.id).record.container
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

    async def get_container(self, tenant: str, container_id: str) -> ContainerRecord:
        """Return a container; see ContainerStore."""
        return deepcopy(self._container(tenant, container_id).record)

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
            in_status = status is None or has_status(current(record), status)
            return in_provider and in_status and name in (None, record.container.name)

        rows = {key: row for key, row in self._containers.items() if row.record.tenant == tenant}
        return page_of(rows, pagination, resource="container", matches=matches)

    async def delete_container(self, tenant: str, container_id: str) -> Sequence[str]:
        """Delete a container; see ContainerStore."""
        self._container(tenant, container_id).deleted = True
        del self.domain_secrets[container_id]
        files = [row for row in self._files_of(container_id).values() if not row.deleted]
        for row in files:
            row.deleted = True
        return [blob for blob in dict.fromkeys(row.record.blob for row in files) if blob not in self._blobs()]

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete containers that expired long ago; see ContainerStore."""
        hosted = [row.record for row in self._containers.values() if not row.deleted and not row.record.key]
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
        home = self._containers[container_id].record
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
        self._touch(self._containers[container_id].record)
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
        return sum(file.bytes for file in living if self._containers[file.container_id].record.tenant == tenant)

    def _container(self, tenant: str, container_id: str) -> Row[ContainerRecord]:
        row = self._containers.get(container_id)
        if row is None or row.deleted or row.record.tenant != tenant:
            raise NotFoundError(f"Container {shortened(container_id)} not found.")
        return row

    def _file(self, tenant: str, container_id: str, *, file_id: str) -> Row[ContainerFileRecord]:
        home, row = self._containers.get(container_id), self._files_of(container_id).get(file_id)
        if home is None or home.record.tenant != tenant or row is None or row.deleted:
            message = f"File {shortened(file_id)} not found on container {shortened(container_id)}."
            raise NotFoundError(message)
        return row

    def _files_of(self, container_id: str) -> dict[str, Row[ContainerFileRecord]]:
        return {key: row for key, row in self._files.items() if row.record.file.container_id == container_id}


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


def _refuse_cursor(resource: str, after: str) -> NoReturn:
    message = f"Invalid 'after': no {resource} with the id '{shortened(after)}'."
    raise InvalidRequestError(message, param="after", code="invalid_value")


def shortened(text: str) -> str:
    return text if len(text) <= 64 else text[:63] + "…"


class MemoryBlobs:
    """A BlobStore in a dictionary, which tests may look into: `blobs`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob; see BlobStore."""
        self.blobs[key] = b"".join([chunk async for chunk in chunks])

    async def get(self, key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        """Open a blob; see BlobStore."""
        if key not in self.blobs:
            raise NotFoundError("The file is gone: it was deleted meanwhile.")
        return _chunks(self.blobs[key][offset : offset + length])

    async def size(self, key: str) -> int | None:
        """Return the size of a blob; see BlobStore."""
        return len(self.blobs[key]) if key in self.blobs else None

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs; see BlobStore."""
        for key in keys:
            self.blobs.pop(key, None)

    async def older_than(self, seconds: int) -> AsyncIterator[Sequence[str]]:
        """Yield keys; see BlobStore. Nothing here has an age: all are old for 0 seconds, and none for more."""
        yield [] if seconds else list(self.blobs)


async def _chunks(content: bytes, *, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
