"""ContainerStore: the port for the rows of containers and container files.

Every adapter passes the suites in `tests/contracts`. Besides the errors that are named here, any
method may raise StorageError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.lifetime import last_second
from berth.core.ports.blob_store import BlobReferences, StoredContent
from berth.core.ports.pages import Page, Pagination
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import Provider

ID_TAKEN = "id_taken"
"""The code of the StorageError for a row with an id, or an attempt, that another row already has."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The maximum sizes in bytes of all files of a container together, and of all files of a tenant together."""

    container_bytes: int
    tenant_bytes: int


UNLIMITED = Quotas(container_bytes=2**63 - 1, tenant_bytes=2**63 - 1)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as it is stored, without `extra_fields`.

    `attempt` is the attempt of a request with an idempotency key that created it; it is written but
    not read back. `key` is the name of the provider key that created it, empty for a hosted
    container. In the message of a hosted container `last_active_at` and `expires_after` are set,
    and `status` is not, because it depends on the clock. In the message of a passthrough container
    they are what the provider reported last, if it did.
    """

    container: Container
    tenant: str
    provider: Provider
    key: str = ""
    attempt: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerFileRecord:
    """A container file as it is stored, without `extra_fields`.

    `blob` is the key of its content in the BlobStore; `sha256` is the digest of the content in 64
    hexadecimal digits; `attempt` is as in ContainerRecord. `block_sums`, as in StoredContent, are
    written but not read back.
    """

    file: ContainerFile
    filename: str
    content_type: str
    sha256: str
    blob: str
    attempt: str | None = None
    block_sums: bytes | None = None

    @property
    def stored(self) -> StoredContent:
        """The content of the container file."""
        return StoredContent(self.blob, self.sha256, self.file.bytes, self.block_sums)


class ContainerSummary(NamedTuple):
    """The fields of a container that matter to its files.

    It was last active at `last_active_at`, in seconds since 1970, and may be idle for
    `expires_minutes`.
    """

    provider: Provider
    last_active_at: int
    expires_minutes: int

    @property
    def expires_at(self) -> int:
        """The last second in which the container is running if it is not used again."""
        return last_second(self.last_active_at, self.expires_minutes)


class ContainerStore(BlobReferences, Protocol):
    """The rows of containers and of their files.

    A write is durable when its method returns. If the caller is cancelled, the write happens
    completely or not at all, and the caller does not learn which. The order of creation is the
    order in which rows were added, also within one second. An id that was never issued is not
    found, whatever characters it has.
    """

    async def add_container(
        self,
        record: ContainerRecord,
        *,
        domain_secrets: Sequence[DomainSecret] = (),
        copies: Sequence[ContainerFileRecord] = (),
        quotas: Quotas = UNLIMITED,
    ) -> None:
        """Add a container and, as `copy_file` does, the files `copies`: all or nothing.

        StorageError (ID_TAKEN) if there is already a container with its id, which only a provider
        can cause, or with its attempt; also the errors of `copy_file`.
        """

    async def get_provider(self, tenant: str, container_id: str) -> Provider:
        """Return the provider of a container. NotFoundError if the tenant has no container with this id."""

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Store the `status` and `last_active_at` of `container`; do nothing if it was deleted."""

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Set the last activity of a container to now; do nothing if it was deleted or is expired."""

    async def get_container(self, tenant: str, container_id: str) -> ContainerRecord:
        """Return a container. NotFoundError if the tenant has no container with this id."""

    async def get_domain_secrets(self, tenant: str, container_id: str) -> Sequence[DomainSecret]:
        """Return the secrets of a container, as they were added.

        NotFoundError if the tenant has no container with this id; StorageError if they were encrypted with another key
        than the store has now.
        """

    async def list_containers(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        name: str | None = None,
        status: ContainerStatus | None = None,
    ) -> Page[ContainerRecord]:
        """Return a page of the tenant's containers, filtered by `providers`, `name` and `status` if given.

        The module `lifetime` defines which status a container has at the time. InvalidRequestError
        (param `after`) if the tenant never had a container with the id `pagination.after`; a
        deleted one still marks its position until Upkeep removes its row.
        """

    async def delete_container(self, tenant: str, container_id: str) -> Sequence[str]:
        """Delete a container and the rows of its files; return the unreferenced blobs, which are to be deleted.

        NotFoundError if there is no such container.
        """

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete at most `limit` hosted containers that expired more than `retention_seconds` ago, and their files.

        Return the number of deleted containers and the unreferenced blobs.
        """

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file with newly stored content to the container `record.file.container_id`.

        This counts as activity of the container. Return the blob that the row refers to:
        `record.blob`, or an older blob with the same content, and then `record.blob` is
        unreferenced. If the older one is recorded as damaged, it is the other way round: all files
        that referred to it refer to `record.blob` from now on.

        StorageError (ID_TAKEN) if there is already a file with its attempt; NotFoundError if the
        tenant has no such container; ContainerExpiredError if it is expired by now;
        InvalidRequestError if the path is taken (param `file_path`, code `path_already_exists`), or
        if the container would exceed its quota (param `file`, code `container_size_exceeded`), or
        the tenant would (code `tenant_size_exceeded`).
        """

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file with content that another file has, identified by `record.sha256` and its size.

        NotFoundError if no file has the content any more; otherwise the errors of `add_file`.
        """

    async def get_file(
        self, tenant: str, container_id: str, file_id: str
    ) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return a container file and its container. NotFoundError if the tenant has no such file in the container."""

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of a container's files; it is empty, whatever `after` is, if there is no such container.

        InvalidRequestError (param `after`) if the container never had a file with the id
        `pagination.after`; a deleted one still marks its position until Upkeep removes its row.
        """

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete the row of a file; return the unreferenced blobs. NotFoundError if there is no such file."""
