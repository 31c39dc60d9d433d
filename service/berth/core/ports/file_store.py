"""FileStore: the port for the rows of files of the Files API."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from berth.core.ports.blob_store import BlobReferences, StoredContent
from berth.core.ports.container_store import MAX_ADOPTED, ForeignRow, Quotas
from berth.core.ports.pages import Page, Pagination
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it is stored, without `extra_fields`.

    `key` is the name of the provider key that uploaded it, empty for a hosted file. Only a hosted
    file has `content_type`, `sha256` (64 hexadecimal digits) and `blob`, the key of its content in
    the BlobStore. `attempt`, `adopted_at` and `created_by` are as in ContainerRecord. `block_sums`, as in
    StoredContent, are written but not read back.
    """

    file: File
    tenant: str
    provider: Provider
    content_type: str = ""
    sha256: str = ""
    blob: str = ""
    key: str = ""
    attempt: str | None = None
    block_sums: bytes | None = None
    adopted_at: int | None = None
    created_by: str | None = None

    @property
    def stored(self) -> StoredContent:
        """The content of the file."""
        return StoredContent(self.blob, self.sha256, self.file.bytes, self.block_sums)


class FileStore(BlobReferences, Protocol):
    """The rows of files, with the same guarantees for writes and order as in ContainerStore.

    A file does not exist any more from its `expires_at` on; `purge` deletes its row.
    """

    async def add(self, record: FileRecord, *, quotas: Quotas, is_own: bool = False) -> str:
        """Add a file and return the blob that its row refers to, as ContainerStore.add_file does.

        A file of a passthrough backend has no blob. StorageError (ID_TAKEN) and `is_own` are as in
        ContainerStore.add_container; InvalidRequestError (param `file`, code `tenant_size_exceeded`)
        if the tenant would exceed its quota.
        """

    async def adopt(self, record: FileRecord, *, keep: int = MAX_ADOPTED) -> bool:
        """Add a file that Berth did not create; see ContainerStore.adopt."""

    async def get_provider(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Provider:
        """Return the provider of a file; see ContainerStore.get_provider."""

    async def get(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> FileRecord:
        """Return a file, of `provider` if that is set. NotFoundError if the tenant has no such file."""

    async def is_foreign(self, tenant: str, file_id: str) -> bool:
        """Return whether `foreign` would return anything."""

    async def foreign(self, tenant: str, file_id: str) -> Sequence[ForeignRow]:
        """Return where other tenants have, or had, a file with this id, except for adopted ones."""

    async def list(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        purpose: str | None = None,
    ) -> Page[FileRecord]:
        """Return a page of the tenant's files, filtered by `providers` and by exact `purpose` if given.

        InvalidRequestError (param `after`) if the tenant never had a file with the id
        `pagination.after`; one that was deleted or has expired still marks its position until
        Upkeep removes its row.
        """

    async def delete(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Sequence[str]:
        """Delete the row of a file; return the unreferenced blobs. NotFoundError if there is no such file."""

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return those of `blobs` that no container file and no file refers to."""

    async def purge(self, *, limit: int) -> tuple[int, Sequence[str]]:
        """Delete the rows of at most `limit` expired files.

        Return the number of deleted files and the unreferenced blobs.
        """
