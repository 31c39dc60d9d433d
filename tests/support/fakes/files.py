"""The fake of the FileStore: an ordinary class in memory that passes its contract."""

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace

from berth.core.errors import InvalidRequestError, NotFoundError, StorageError
from berth.core.ports.blob_store import BlobState
from berth.core.ports.container_store import ID_TAKEN, MAX_ADOPTED, ForeignRow, Quotas
from berth.core.ports.file_store import FileRecord
from berth.core.ports.pages import Page, Pagination
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider
from support.fakes.stores import Row, forget_oldest, page_of, shortened


class MemoryFiles:
    """A FileStore in a dictionary."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._rows: dict[tuple[str, str, Provider], Row[FileRecord]] = {}
        self._now = now
        self._damaged = Counter[str]()

    async def add(self, record: FileRecord, *, quotas: Quotas, is_own: bool = False) -> str:
        """Add a file; see FileStore."""
        created = [row.record.file.id for row in self._rows.values() if row.record.adopted_at is None]
        if _key(record) in self._rows or (not is_own and record.file.id in created):
            raise StorageError("The id is known already.", code=ID_TAKEN)
        held = sum(row.record.file.bytes for row in self._held() if row.record.tenant == record.tenant)
        if not record.key and held + record.file.bytes > quotas.tenant_bytes:
            raise InvalidRequestError("The tenant is full.", param="file", code="tenant_size_exceeded")
        blob = record.blob if record.key else self._blob_for(record)
        self._rows[_key(record)] = Row(deepcopy(replace(record, blob=blob)))
        return blob

    async def adopt(self, record: FileRecord, *, keep: int = MAX_ADOPTED) -> bool:
        """Add a file that Berth did not create; see FileStore."""
        row = self._rows.get(_key(record))
        if row is not None and not row.deleted and row.record.adopted_at is None:
            return False
        self._rows[_key(record)] = Row(deepcopy(record))
        forget_oldest(self._rows.values(), record.tenant, keep)
        return row is None or row.deleted

    async def get_provider(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Provider:
        """Return whose a file is; see FileStore."""
        return self._row(tenant, file_id, provider).record.provider

    async def get(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> FileRecord:
        """Return a file; see FileStore."""
        return deepcopy(self._row(tenant, file_id, provider).record)

    async def is_foreign(self, tenant: str, file_id: str) -> bool:
        """Return whether other tenants have a file; see FileStore."""
        return bool(await self.foreign(tenant, file_id))

    async def foreign(self, tenant: str, file_id: str) -> Sequence[ForeignRow]:
        """Return where other tenants have a file; see FileStore."""
        records = [row.record for (_, known, _), row in self._rows.items() if known == file_id]
        others = [record for record in records if record.tenant != tenant and record.adopted_at is None]
        return [ForeignRow(record.provider, record.key, record.tenant) for record in others]

    async def list(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        purpose: str | None = None,
    ) -> Page[FileRecord]:
        """Return a page of files; see FileStore."""

        def matches(record: FileRecord) -> bool:
            in_provider = providers is None or record.provider in providers
            described = record.adopted_at is None or record.file.created_at > 0
            return described and in_provider and purpose in (None, record.file.purpose) and not self._is_over(record)

        rows = {row.record.file.id: row for row in self._rows.values() if row.record.tenant == tenant}
        return page_of(rows, pagination, resource="file", matches=matches)

    async def delete(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Sequence[str]:
        """Delete a file; see FileStore."""
        return self._remove([self._row(tenant, file_id, provider)])

    async def find_blob(self, sha256: str, size: int) -> str | None:
        """Return what a new upload would share; see BlobReferences."""
        return next((row.record.blob for row in self._held() if row.record.stored[1:3] == (sha256, size)), None)

    async def blob_state(self, blob: str) -> BlobState | None:
        """Return what is known about a blob; see BlobReferences."""
        sums = [row.record.block_sums for row in self._held() if row.record.blob == blob]
        known = next((each for each in sums if each is not None), None)
        return BlobState(self._damaged[blob] > 0, known) if sums else None

    async def note_damage(self, blob: str) -> int:
        """Note that a blob is damaged; see BlobReferences."""
        if blob not in {row.record.blob for row in self._held()}:
            return 0
        self._damaged[blob] += 1
        return self._damaged[blob]

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return those that no file has; see FileStore."""
        held = {row.record.blob for row in self._held()}
        return [blob for blob in blobs if blob not in held]

    async def purge(self, *, limit: int) -> tuple[int, Sequence[str]]:
        """Delete expired files; see FileStore."""
        rows = [row for row in self._rows.values() if not row.deleted and self._is_over(row.record)][:limit]
        return len(rows), self._remove(rows)

    def _remove(self, rows: Sequence[Row[FileRecord]]) -> Sequence[str]:
        for row in rows:
            row.deleted = True
        held = {row.record.blob for row in self._held()}
        return [blob for blob in dict.fromkeys(row.record.blob for row in rows) if blob and blob not in held]

    def _blob_for(self, record: FileRecord) -> str:
        """Return the blob that has the bytes of a new file: for all files of that content, if it is the new one."""
        same = [row for row in self._held() if row.record.stored[1:3] == record.stored[1:3]]
        good = [row.record.blob for row in same if not self._damaged[row.record.blob]]
        blob = good[0] if good else record.blob
        for row in same:
            row.record = replace(row.record, blob=blob)
        return blob

    def _held(self) -> Sequence[Row[FileRecord]]:
        return [row for row in self._rows.values() if row.record.blob and not row.deleted]

    def _row(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Row[FileRecord]:
        for (owner, known, at), row in self._rows.items():
            matches = (owner, known) == (tenant, file_id) and provider in (at, PROVIDER_UNSPECIFIED)
            if matches and not row.deleted and not self._is_over(row.record):
                return row
        raise NotFoundError(f"File {shortened(file_id)} not found.")

    def _is_over(self, record: FileRecord) -> bool:
        return record.file.HasField("expires_at") and record.file.expires_at <= self._now()


def _key(record: FileRecord) -> tuple[str, str, Provider]:
    return record.tenant, record.file.id, record.provider
