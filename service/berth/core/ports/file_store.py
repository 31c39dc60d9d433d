"""FileStore: the port under the backends of files that are in no container."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from berth.core.ports.blob_store import BlobReferences, StoredContent
from berth.core.ports.container_store import Quotas
from berth.core.ports.pages import Page, Pagination
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import Provider


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it is stored, without `extra_fields`.

    `key` is the name of the key that a provider took it with, empty for a
    hosted one. Only a hosted one has `content_type`, `sha256` (64 hexadecimal
    digits) and `blob`, the key of its bytes in the BlobStore. `attempt` is as in
    ContainerRecord.
    """

    file: File
    tenant: str
    provider: Provider
    content_type: str = ""
    sha256: str = ""
    blob: str = ""
    key: str = ""
    attempt: str | None = None

    @property
    def stored(self) -> StoredContent:
        """The file's bytes."""
        return StoredContent(self.blob, self.sha256, self.file.bytes)


class FileStore(BlobReferences, Protocol):
    """The rows of files that are in no container. What ContainerStore promises of writes and order holds here, too.

    A file whose `expires_at` has come is not there; its row goes with `purge`.
    """

    async def add(self, record: FileRecord, *, quotas: Quotas) -> str:
        """Add a file, and return the blob that has its bytes: see ContainerStore.add_file. One of a provider has none.

        StorageError if there is one of its id or attempt already,
        InvalidRequestError (param `file`, code `tenant_size_exceeded`) if the
        tenant would hold more than its quota.
        """

    async def get_provider(self, tenant: str, file_id: str) -> Provider:
        """Return whose a file is. NotFoundError if the tenant has none of that id."""

    async def get(self, tenant: str, file_id: str) -> FileRecord:
        """Return a file. NotFoundError if the tenant has none of that id."""

    async def is_foreign(self, tenant: str, file_id: str) -> bool:
        """Return whether the file is known, and another tenant's."""

    async def list(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        purpose: str | None = None,
    ) -> Page[FileRecord]:
        """Return a page of the tenant's files, of any of `providers` and of exactly `purpose` if given.

        InvalidRequestError (param `after`) if the tenant never had a file of the
        id `paging.after`; one that is gone still marks its place.
        """

    async def delete(self, tenant: str, file_id: str) -> Sequence[str]:
        """Delete a file's row; return the blobs that nobody holds any more. NotFoundError if there is no such file."""

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return those of `blobs` that no file has, in a container or outside."""

    async def purge(self, *, limit: int) -> tuple[int, Sequence[str]]:
        """Delete the rows of at most `limit` files that have expired.

        Return how many there were, and the blobs that nobody holds any more.
        """
